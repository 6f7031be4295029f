#include "autograd/check/bench_inputs.h"
#include "autograd/ops/pointwise/add.h"

namespace wyvern {

std::vector<BenchShape> Add::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"width", m.width}})};
}

absl::StatusOr<BenchCase<Add>> Add::BenchCaseOf(const BenchShape& s) {
  const BenchInput x = {.shape = {s["tokens"], s["width"]}};
  BenchCase<Add> c;
  c.name = ToString(x.shape);
  c.in = {.a = x, .b = x};
  return c;
}

}  // namespace wyvern
