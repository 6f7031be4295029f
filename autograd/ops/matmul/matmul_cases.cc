#include "absl/strings/str_cat.h"
#include "autograd/ops/matmul/matmul.h"

namespace wyvern {

std::vector<OpCase<MatMul>> MatMul::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MatMul>> cases;
  const auto add = [&](const Shape& x, int64_t N, bool bias) {
    OpCase<MatMul> c;
    c.name = absl::StrCat(ToString(x), " to ", N, bias ? ", bias" : "");
    c.in.x = random.Normal(x);
    c.in.weight = random.Normal({N, x.back()});
    if (bias) c.in.bias = random.Normal({N});
    c.finite_differences = c.in.x.numel() < 2000;
    cases.push_back(std::move(c));
  };
  add({1, 1}, 1, false);
  add({1, 5}, 3, true);
  add({0, 8}, 4, true);
  add({7, 3}, 1, true);
  add({3, 2, 24}, 24, false);
  add({13, 24}, 17, true);
  add({1, 64}, 96, true);
  add({300, 72}, 130, true);
  add({257, 256}, 128, false);
  // Large enough for the tiles of kernels/matmul/cuda/matmul_algorithm.cc; odd rows do not fit
  // them.
  add({1160, 1032}, 1544, false);
  add({1031, 1025}, 1027, false);
  return cases;
}

}  // namespace wyvern
