#include "trainer/bench/op_shape.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// A list's suggestion for a word that is not in it.
std::string Offer(absl::string_view word, const std::vector<std::string>& list) {
  const std::string nearest = Nearest(word, list);
  return absl::StrCat(nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"),
                      " (of ", absl::StrJoin(list, ", "), ")");
}

absl::StatusOr<int64_t> ParseValue(absl::string_view text, const BenchShape::Size& size) {
  if (!size.choices.empty()) {
    const auto found = std::find(size.choices.begin(), size.choices.end(), text);
    if (found != size.choices.end()) return found - size.choices.begin();
    return absl::InvalidArgumentError(
        absl::StrCat("--shape: ", size.key, " cannot be '", text, "'", Offer(text, size.choices)));
  }
  int64_t value = 0;
  // Offsets of tokens are 32 bits wide.
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  if (!absl::SimpleAtoi(text, &value) || value < size.least || value > kMost) {
    return absl::InvalidArgumentError(absl::StrCat("--shape: ", size.key,
                                                   " must be a whole number from ", size.least,
                                                   " to ", kMost, ", not '", text, "'"));
  }
  return value;
}

}  // namespace

absl::StatusOr<BenchShape> ParseBenchShape(absl::string_view text, const std::string& op,
                                           const BenchShape& defaults) {
  std::vector<std::string> keys;
  for (const BenchShape::Size& size : defaults.sizes()) keys.push_back(size.key);
  BenchShape shape = defaults;
  std::set<std::string> given;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::vector<std::string> sides = absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (sides.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("--shape: expected key=value, found '", part, "'"));
    }
    const auto found = std::find(keys.begin(), keys.end(), sides[0]);
    if (found == keys.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--shape: ", op, " has no size '", sides[0], "'", Offer(sides[0], keys)));
    }
    if (!given.insert(sides[0]).second) {
      return absl::InvalidArgumentError(absl::StrCat("--shape: ", sides[0], " is given twice"));
    }
    ASSIGN_OR_RETURN(const int64_t value,
                     ParseValue(sides[1], defaults.sizes()[found - keys.begin()]));
    shape = shape.With({{sides[0], value}});
  }
  return shape;
}

}  // namespace wyvern
