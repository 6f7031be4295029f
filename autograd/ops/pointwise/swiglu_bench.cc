#include "autograd/check/bench_inputs.h"
#include "autograd/ops/pointwise/swiglu.h"

namespace wyvern {

std::vector<BenchShape> SwiGlu::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"width", m.hidden}})};
}

absl::StatusOr<BenchCase<SwiGlu>> SwiGlu::BenchCaseOf(const BenchShape& s) {
  const BenchInput x = {.shape = {s["tokens"], s["width"]}};
  BenchCase<SwiGlu> c;
  c.name = ToString(x.shape);
  c.in = {.gate = x, .up = x};
  return c;
}

}  // namespace wyvern
