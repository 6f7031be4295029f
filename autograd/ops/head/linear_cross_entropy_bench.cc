#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/head/linear_cross_entropy.h"

namespace wyvern {

// The usual vocabulary; and one of which a slice holds few rows, in groups as the op has them, of
// one slice, and of half and about twice as many rows.
std::vector<BenchShape> LinearCrossEntropy::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  const BenchShape shape({{"tokens", m.tokens},
                          {"width", m.width},
                          {"vocab", m.vocab},
                          {.key = "group_rows", .value = 0, .least = 0}});
  if (device == Device::kCpu) {
    return {shape, shape.With({{"tokens", 64}, {"width", 64}, {"vocab", 4096}})};
  }
  std::vector<BenchShape> shapes = {shape};
  for (const int64_t group_rows : {0, 768, 2304, 8192}) {
    shapes.push_back(shape.With(
        {{"tokens", 8192}, {"width", 2304}, {"vocab", 163840}, {"group_rows", group_rows}}));
  }
  return shapes;
}

absl::StatusOr<BenchCase<LinearCrossEntropy>> LinearCrossEntropy::BenchCaseOf(const BenchShape& s) {
  BenchCase<LinearCrossEntropy> c;
  c.name = absl::StrCat(s["tokens"], " x ", s["width"], ", ", s["vocab"], " classes");
  if (s["group_rows"] > 0) absl::StrAppend(&c.name, ", groups of ", s["group_rows"]);
  c.in.x.shape = {s["tokens"], s["width"]};
  c.in.weight = Weight({s["vocab"], s["width"]});
  c.params.targets = RandomIds(s["tokens"], s["vocab"]);
  c.params.denominator = static_cast<double>(s["tokens"]);
  c.params.group_rows = s["group_rows"];
  c.unused_outputs = {"token_loss"};
  return c;
}

}  // namespace wyvern
