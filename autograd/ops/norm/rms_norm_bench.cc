#include "autograd/check/bench_inputs.h"
#include "autograd/ops/norm/rms_norm.h"

namespace wyvern {

std::vector<BenchShape> RmsNorm::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  const BenchShape shape(
      {{"tokens", m.tokens}, {"width", m.width}, {.key = "residual", .choices = {"no", "yes"}}});
  return {shape, shape.With({{"residual", 1}})};
}

absl::StatusOr<BenchCase<RmsNorm>> RmsNorm::BenchCaseOf(const BenchShape& s) {
  BenchCase<RmsNorm> c;
  c.in.x.shape = {s["tokens"], s["width"]};
  c.in.weight = Weight({s["width"]}, 1, 0.1);
  c.name = ToString(c.in.x.shape);
  if (s["residual"] == 1) {
    c.in.residual = c.in.x;
    c.name += ", residual";
  }
  return c;
}

}  // namespace wyvern
