#include "autograd/check/bench_inputs.h"
#include "autograd/ops/linear_attention/mamba_inputs.h"

namespace wyvern {

std::vector<BenchShape> MambaInputs::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens},
                      {"heads", 2 * m.width / 64},
                      {"head_dim", 64},
                      {"groups", 1},
                      {"state_dim", 128}})};
}

absl::StatusOr<BenchCase<MambaInputs>> MambaInputs::BenchCaseOf(const BenchShape& s) {
  const int64_t T = s["tokens"], H = s["heads"], P = s["head_dim"], G = s["groups"];
  if (H % G != 0) return absl::InvalidArgumentError("heads: expected a multiple of groups");
  const int64_t channels = H * P + 2 * G * s["state_dim"];
  BenchCase<MambaInputs> c;
  c.name = ToString(Shape{T, channels});
  c.in.conv.shape = {T, channels};
  c.in.conv_bias = Weight({channels}, 0, 0.1);
  c.in.dt.shape = {T, H};
  c.in.a_log = Weight({H}, 1, 0.5);
  c.in.dt_bias = Weight({H}, -4, 1);
  c.params = {.head_dim = P, .num_groups = G, .state_dim = s["state_dim"]};
  return c;
}

}  // namespace wyvern
