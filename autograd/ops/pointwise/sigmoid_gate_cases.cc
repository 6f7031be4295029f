#include "autograd/ops/pointwise/sigmoid_gate.h"

namespace wyvern {

std::vector<OpCase<SigmoidGate>> SigmoidGate::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<SigmoidGate>> cases;
  for (const Shape& shape :
       {Shape{1}, Shape{0, 8}, Shape{3, 5}, Shape{2, 4, 24}, Shape{77, 1000}}) {
    OpCase<SigmoidGate> c;
    c.name = ToString(shape);
    c.in.x = random.Normal(shape, 0, 2);
    c.in.gate = random.Normal(shape, 0, 2);
    c.finite_differences = c.in.x.numel() < 1000;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
