#include "absl/strings/str_cat.h"
#include "autograd/ops/head/embedding.h"

namespace wyvern {

std::vector<OpCase<Embedding>> Embedding::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<Embedding>> cases;
  // `distinct` ids occur; the others' rows have no gradient.
  const auto add = [&](const char* name, int64_t T, int64_t V, int64_t D, int64_t distinct,
                       int64_t padding_id) {
    OpCase<Embedding> c;
    c.name = absl::StrCat("T ", T, ", V ", V, ", D ", D, ", ", name);
    c.in.weight = random.Normal({V, D});
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < T; ++t) ids.push_back(static_cast<int32_t>(random.Below(distinct)));
    c.params.ids = Tensor::FromVector(ids, {T});
    c.params.padding_id = padding_id;
    c.finite_differences = V * D < 2000 && padding_id < 0;  // padding is not a derivative
    cases.push_back(std::move(c));
  };
  add("one token", 1, 1, 1, 1, -1);
  add("no tokens", 0, 3, 4, 1, -1);
  add("repeated ids", 20, 7, 5, 3, -1);
  add("padding", 40, 11, 24, 11, 2);
  add("one id", 300, 24, 3, 1, -1);
  add("many", 1500, 257, 72, 257, -1);
  add("sparse", 100, 3000, 16, 3000, 0);
  return cases;
}

}  // namespace wyvern
