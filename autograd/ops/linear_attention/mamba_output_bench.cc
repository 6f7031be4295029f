#include "autograd/check/bench_inputs.h"
#include "autograd/ops/linear_attention/mamba_output.h"

namespace wyvern {

std::vector<BenchShape> MambaOutput::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape(
      {{"tokens", m.tokens}, {"heads", 2 * m.width / 64}, {"head_dim", 64}, {"groups", 1}})};
}

absl::StatusOr<BenchCase<MambaOutput>> MambaOutput::BenchCaseOf(const BenchShape& s) {
  const int64_t T = s["tokens"], H = s["heads"], width = H * s["head_dim"];
  if (width % s["groups"] != 0) {
    return absl::InvalidArgumentError("groups: expected a divisor of heads x head_dim");
  }
  const BenchInput x = {.shape = {T, H, s["head_dim"]}};
  BenchCase<MambaOutput> c;
  c.name = ToString(x.shape);
  c.in.o = x;
  c.in.x = x;
  c.in.gate.shape = {T, width};
  c.in.skip = Weight({H}, 1, 0.1);
  c.in.weight = Weight({width}, 1, 0.1);
  c.params = {.num_groups = s["groups"]};
  return c;
}

}  // namespace wyvern
