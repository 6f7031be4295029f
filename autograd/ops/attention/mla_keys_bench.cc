#include "autograd/check/bench_inputs.h"
#include "autograd/ops/attention/mla_keys.h"

namespace wyvern {

std::vector<BenchShape> MlaKeys::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens},
                      {"heads", 2 * m.heads},
                      {"own_dim", m.head_dim},
                      {"shared_dim", m.head_dim / 2}})};
}

absl::StatusOr<BenchCase<MlaKeys>> MlaKeys::BenchCaseOf(const BenchShape& s) {
  BenchCase<MlaKeys> c;
  c.in = {.own = {.shape = {s["tokens"], s["heads"], s["own_dim"]}},
          .shared = {.shape = {s["tokens"], s["shared_dim"]}}};
  c.name = ToString(c.in.own.shape);
  return c;
}

}  // namespace wyvern
