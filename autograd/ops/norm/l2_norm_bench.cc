#include "autograd/check/bench_inputs.h"
#include "autograd/ops/norm/l2_norm.h"

namespace wyvern {

std::vector<BenchShape> L2Norm::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"heads", m.heads}, {"head_dim", m.head_dim}})};
}

absl::StatusOr<BenchCase<L2Norm>> L2Norm::BenchCaseOf(const BenchShape& s) {
  BenchCase<L2Norm> c;
  c.in.x.shape = {s["tokens"], s["heads"], s["head_dim"]};
  c.name = ToString(c.in.x.shape);
  return c;
}

}  // namespace wyvern
