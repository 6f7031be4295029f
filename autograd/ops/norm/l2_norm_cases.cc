#include "absl/strings/str_cat.h"
#include "autograd/ops/norm/l2_norm.h"

namespace wyvern {

std::vector<OpCase<L2Norm>> L2Norm::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<L2Norm>> cases;
  const auto add = [&](const Shape& shape, double stddev, double eps) {
    OpCase<L2Norm> c;
    c.name = absl::StrCat(ToString(shape), ", scale ", stddev);
    c.in.x = random.Normal(shape, 0, stddev);
    c.params.eps = eps;
    c.finite_differences = c.in.x.numel() < 1000;
    cases.push_back(std::move(c));
  };
  for (const Shape& shape :
       {Shape{1, 1, 16}, Shape{0, 2, 16}, Shape{3, 2, 5}, Shape{5, 24}, Shape{4, 1, 130},
        Shape{100, 4, 64}, Shape{60, 3, 128}, Shape{9, 2, 256}, Shape{3, 1100}}) {
    add(shape, 1, 1e-6);
  }
  add({7, 3, 8}, 0.3, 10);  // eps dominates
  add({2, 32}, 30, 1e-6);
  return cases;
}

}  // namespace wyvern
