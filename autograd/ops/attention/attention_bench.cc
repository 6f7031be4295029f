#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/attention/attention.h"

namespace wyvern {

// The same tokens as short documents and as one, full and over a window.
std::vector<BenchShape> Attention::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  const BenchShape shape({{"tokens", m.tokens},
                          {"documents", m.documents},
                          {"heads", m.heads},
                          {"kv_heads", m.heads},
                          {"key_dim", m.head_dim},
                          {"value_dim", m.head_dim},
                          {.key = "window", .value = 0, .least = 0}});
  std::vector<BenchShape> shapes;
  for (const int64_t documents : {m.documents, int64_t{1}}) {
    for (const int64_t window : {int64_t{0}, m.tokens / 32}) {
      shapes.push_back(shape.With({{"documents", documents}, {"window", window}}));
    }
  }
  return shapes;
}

absl::StatusOr<BenchCase<Attention>> Attention::BenchCaseOf(const BenchShape& s) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> offsets, OffsetsOf(s));
  if (s["heads"] % s["kv_heads"] != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(s["heads"], " heads cannot share ", s["kv_heads"], " key heads evenly"));
  }
  BenchCase<Attention> c;
  c.name = DocsName(offsets);
  if (s["window"] > 0) absl::StrAppend(&c.name, ", window ", s["window"]);
  c.in = {.q = {.shape = {s["tokens"], s["heads"], s["key_dim"]}},
          .k = {.shape = {s["tokens"], s["kv_heads"], s["key_dim"]}},
          .v = {.shape = {s["tokens"], s["kv_heads"], s["value_dim"]}}};
  c.params.cu_seqlens_q_host = offsets;
  c.params.cu_seqlens_q = ToTensor(offsets);
  c.params.window = s["window"];
  return c;
}

}  // namespace wyvern
