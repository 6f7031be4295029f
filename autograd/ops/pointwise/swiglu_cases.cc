#include "autograd/ops/pointwise/swiglu.h"

namespace wyvern {

std::vector<OpCase<SwiGlu>> SwiGlu::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<SwiGlu>> cases;
  for (const Shape& shape :
       {Shape{1}, Shape{0, 8}, Shape{3, 5}, Shape{2, 4, 24}, Shape{77, 1000}}) {
    OpCase<SwiGlu> c;
    c.name = ToString(shape);
    c.in.gate = random.Normal(shape, 0, 2);
    c.in.up = random.Normal(shape, 0, 2);
    c.finite_differences = c.in.gate.numel() < 1000;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
