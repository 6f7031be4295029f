#include "autograd/check/bench_inputs.h"
#include "autograd/ops/norm/gated_rms_norm.h"

namespace wyvern {

std::vector<BenchShape> GatedRmsNorm::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"heads", m.heads}, {"head_dim", m.head_dim}})};
}

absl::StatusOr<BenchCase<GatedRmsNorm>> GatedRmsNorm::BenchCaseOf(const BenchShape& s) {
  const BenchInput x = {.shape = {s["tokens"], s["heads"], s["head_dim"]}};
  BenchCase<GatedRmsNorm> c;
  c.name = ToString(x.shape);
  c.in = {.x = x, .gate = x, .weight = Weight({s["head_dim"]}, 1, 0.1)};
  return c;
}

}  // namespace wyvern
