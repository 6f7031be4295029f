#include "autograd/ops/pointwise/add.h"

namespace wyvern {

std::vector<OpCase<Add>> Add::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<Add>> cases;
  for (const Shape& shape : {Shape{1}, Shape{0, 8}, Shape{3, 5}, Shape{77, 1000}}) {
    OpCase<Add> c;
    c.name = ToString(shape);
    c.in.a = random.Normal(shape, 0, 2);
    c.in.b = random.Normal(shape, 0, 2);
    c.finite_differences = c.in.a.numel() < 1000;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
