#include "autograd/check/bench_inputs.h"
#include "autograd/ops/pointwise/silu.h"

namespace wyvern {

std::vector<BenchShape> Silu::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"width", m.width}})};
}

absl::StatusOr<BenchCase<Silu>> Silu::BenchCaseOf(const BenchShape& s) {
  const BenchInput x = {.shape = {s["tokens"], s["width"]}};
  BenchCase<Silu> c;
  c.name = ToString(x.shape);
  c.in = {.x = x};
  return c;
}

}  // namespace wyvern
