#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/head/embedding.h"

namespace wyvern {

std::vector<BenchShape> Embedding::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  return {BenchShape({{"tokens", m.tokens}, {"vocab", m.vocab}, {"width", m.width}})};
}

absl::StatusOr<BenchCase<Embedding>> Embedding::BenchCaseOf(const BenchShape& s) {
  BenchCase<Embedding> c;
  c.name = absl::StrCat(s["tokens"], " of ", s["vocab"], " x ", s["width"]);
  c.in.weight = Weight({s["vocab"], s["width"]});
  c.params.ids = RandomIds(s["tokens"], s["vocab"]);
  return c;
}

}  // namespace wyvern
