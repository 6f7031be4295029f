#include "autograd/check/bench_inputs.h"
#include "autograd/ops/pointwise/row_gate.h"

namespace wyvern {

std::vector<BenchShape> RowGate::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"width", m.width}})};
}

absl::StatusOr<BenchCase<RowGate>> RowGate::BenchCaseOf(const BenchShape& s) {
  BenchCase<RowGate> c;
  c.in = {.x = {.shape = {s["tokens"], s["width"]}}, .gate = {.shape = {s["tokens"], 1}}};
  c.name = ToString(c.in.x.shape);
  return c;
}

}  // namespace wyvern
