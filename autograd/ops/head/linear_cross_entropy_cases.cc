#include "absl/strings/str_cat.h"
#include "autograd/ops/head/linear_cross_entropy.h"

namespace wyvern {

std::vector<OpCase<LinearCrossEntropy>> LinearCrossEntropy::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<LinearCrossEntropy>> cases;
  const auto add = [&](const char* name, int64_t T, int64_t V, int64_t D, double scale,
                       int64_t slice_rows, int64_t group_rows, bool mean_alone) {
    OpCase<LinearCrossEntropy> c;
    c.name = absl::StrCat("T ", T, ", V ", V, ", D ", D, ", ", name,
                          mean_alone ? ", of the mean alone" : "");
    c.in.x = random.Normal({T, D}, 0, scale);
    c.in.weight = random.Normal({V, D});
    std::vector<int32_t> targets;
    for (int64_t t = 0; t < T; ++t) {
      targets.push_back(t % 5 == 3 ? -1 : static_cast<int32_t>(random.Below(V)));
    }
    c.params.targets = Tensor::FromVector(targets, {T});
    c.params.denominator = static_cast<double>(T) + 0.5;
    c.params.slice_rows = slice_rows;
    c.params.group_rows = group_rows;
    if (mean_alone) c.unused_outputs = {"token_loss"};
    c.finite_differences = T * V < 2000;
    cases.push_back(std::move(c));
  };
  // With a gradient of the mean alone the backward scales what the forward left.
  for (const bool mean_alone : {false, true}) {
    add("one token", 1, 2, 1, 1, 0, 0, mean_alone);
    add("one class", 2, 1, 3, 1, 0, 0, mean_alone);
    add("no tokens", 0, 9, 4, 1, 0, 0, mean_alone);
    add("fewer than a slice", 5, 9, 4, 1, 64, 128, mean_alone);
    add("slices with a ragged tail", 8, 24, 5, 1, 3, 3, mean_alone);
    add("slices of one row", 4, 7, 24, 0.3, 1, 1, mean_alone);
    add("one group of slices", 8, 24, 5, 1, 3, 100, mean_alone);
    add("groups of slices with ragged tails", 23, 24, 5, 1, 3, 7, mean_alone);
    add("groups of whole slices", 21, 30, 7, 1, 2, 6, mean_alone);
    add("large logits", 6, 30, 4, 30, 0, 0, mean_alone);
    // The softmax saturates: differences see only rounding.
    cases.back().finite_differences = false;
    add("many rows", 300, 257, 24, 0.5, 128, 0, mean_alone);
    add("groups by width", 300, 257, 40, 0.5, 16, 0, mean_alone);
    add("wide vocabulary", 6, 5003, 16, 0.5, 4, 0, mean_alone);
    add("more classes than registers hold", 3, 20008, 8, 0.5, 2, 0, mean_alone);
  }
  return cases;
}

}  // namespace wyvern
