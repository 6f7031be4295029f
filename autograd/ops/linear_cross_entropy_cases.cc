#include "absl/strings/str_cat.h"
#include "autograd/ops/linear_cross_entropy.h"

namespace wyvern {

std::vector<OpCase<LinearCrossEntropy>> LinearCrossEntropy::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<LinearCrossEntropy>> cases;
  const auto add = [&](const char* name, int64_t T, int64_t V, int64_t D, double scale,
                       int64_t slice_rows, bool mean_alone) {
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
    if (mean_alone) c.unused_outputs = {"token_loss"};
    c.finite_differences = T * V < 2000;
    cases.push_back(std::move(c));
  };
  // With a gradient of the mean alone the backward scales what the forward left.
  for (const bool mean_alone : {false, true}) {
    add("one token", 1, 2, 1, 1, 0, mean_alone);
    add("one class", 2, 1, 3, 1, 0, mean_alone);
    add("slices with a ragged tail", 8, 24, 5, 1, 3, mean_alone);
    add("slices of one row", 4, 7, 24, 0.3, 1, mean_alone);
    add("large logits", 6, 30, 4, 30, 0, mean_alone);
    // The softmax saturates: differences see only rounding.
    cases.back().finite_differences = false;
    add("many rows", 300, 257, 24, 0.5, 128, mean_alone);
    add("wide vocabulary", 6, 5003, 16, 0.5, 4, mean_alone);
    add("more classes than registers hold", 3, 20008, 8, 0.5, 2, mean_alone);
  }
  return cases;
}

}  // namespace wyvern
