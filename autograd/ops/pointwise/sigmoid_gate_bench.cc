#include "autograd/check/bench_inputs.h"
#include "autograd/ops/pointwise/sigmoid_gate.h"

namespace wyvern {

std::vector<BenchShape> SigmoidGate::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"width", m.width}})};
}

absl::StatusOr<BenchCase<SigmoidGate>> SigmoidGate::BenchCaseOf(const BenchShape& s) {
  const BenchInput x = {.shape = {s["tokens"], s["width"]}};
  BenchCase<SigmoidGate> c;
  c.name = ToString(x.shape);
  c.in = {.x = x, .gate = x};
  return c;
}

}  // namespace wyvern
