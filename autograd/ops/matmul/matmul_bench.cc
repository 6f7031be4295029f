#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/matmul/matmul.h"

namespace wyvern {

// A mixer's projections, and those of a SwiGLU layer.
std::vector<BenchShape> MatMul::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  const BenchShape shape({{"tokens", m.tokens}, {"dim_in", m.width}, {"dim_out", m.width}});
  return {shape, shape.With({{"dim_out", m.hidden}}), shape.With({{"dim_in", m.hidden}})};
}

absl::StatusOr<BenchCase<MatMul>> MatMul::BenchCaseOf(const BenchShape& s) {
  BenchCase<MatMul> c;
  c.name = absl::StrCat(s["tokens"], " x ", s["dim_in"], " to ", s["dim_out"]);
  c.in.x.shape = {s["tokens"], s["dim_in"]};
  c.in.weight = Weight({s["dim_out"], s["dim_in"]});
  return c;
}

}  // namespace wyvern
