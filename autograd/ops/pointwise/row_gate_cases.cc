#include "autograd/ops/pointwise/row_gate.h"

namespace wyvern {

std::vector<OpCase<RowGate>> RowGate::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<RowGate>> cases;
  for (const Shape& shape :
       {Shape{1, 1}, Shape{0, 8}, Shape{3, 5}, Shape{9, 24}, Shape{7, 256}, Shape{77, 1001}}) {
    OpCase<RowGate> c;
    c.name = ToString(shape);
    c.in.x = random.Normal(shape, 0, 2);
    c.in.gate = random.Normal({shape[0], 1}, 0, 2);
    c.finite_differences = c.in.x.numel() < 1000;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
