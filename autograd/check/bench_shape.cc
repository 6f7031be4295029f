#include "autograd/check/bench_shape.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

template <class Sizes>
auto& Find(Sizes& sizes, absl::string_view key) {
  const auto found =
      std::find_if(sizes.begin(), sizes.end(), [&](const auto& size) { return size.key == key; });
  CHECK(found != sizes.end(), "the shape has no size '", std::string(key), "'");
  return *found;
}

}  // namespace

int64_t BenchShape::operator[](absl::string_view key) const { return Find(sizes_, key).value; }

BenchShape BenchShape::With(
    std::initializer_list<std::pair<absl::string_view, int64_t>> values) const {
  BenchShape shape = *this;
  for (const auto& [key, value] : values) {
    Size& size = Find(shape.sizes_, key);
    CHECK(value >= (size.choices.empty() ? size.least : 0), size.key, " ", value);
    size.value = value;
  }
  return shape;
}

std::string BenchShape::ToString() const {
  return absl::StrJoin(sizes_, ",", [](std::string* out, const Size& size) {
    absl::StrAppend(out, size.key, "=");
    if (size.choices.empty()) {
      absl::StrAppend(out, size.value);
    } else {
      absl::StrAppend(out, size.choices[size.value]);
    }
  });
}

}  // namespace wyvern
