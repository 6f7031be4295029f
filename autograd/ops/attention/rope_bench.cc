#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/attention/rope.h"

namespace wyvern {

std::vector<BenchShape> Rope::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens},
                      {"documents", m.documents},
                      {"heads", m.heads},
                      {"head_dim", m.head_dim}})};
}

absl::StatusOr<BenchCase<Rope>> Rope::BenchCaseOf(const BenchShape& s) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> offsets, OffsetsOf(s));
  if (s["head_dim"] % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim ", s["head_dim"], " does not divide into pairs"));
  }
  std::vector<int32_t> positions(s["tokens"]);
  for (size_t t = 0; t < positions.size(); ++t) {
    positions[t] = static_cast<int32_t>(t) % offsets[1];
  }
  BenchCase<Rope> c;
  c.in.x.shape = {s["tokens"], s["heads"], s["head_dim"]};
  c.params.positions = ToTensor(positions);
  c.name = ToString(c.in.x.shape);
  return c;
}

}  // namespace wyvern
