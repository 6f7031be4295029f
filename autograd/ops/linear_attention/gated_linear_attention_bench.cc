// Gated linear attention at the sizes of GLA's models of 340 million and 1.3 billion parameters,
// and beside the delta rule's; on the CPU at that of a small one.
#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/linear_attention/gated_linear_attention.h"

namespace wyvern {
namespace {

struct Kind {
  const char* name;
  LinearDecay decay;
};

constexpr Kind kKinds[] = {{"gla", LinearDecay::kPerChannel},
                           {"per head", LinearDecay::kPerHead},
                           {"no decay", LinearDecay::kNone}};

}  // namespace

std::vector<BenchShape> GatedLinearAttention::BenchShapes(Device device) {
  const bool small = device == Device::kCpu;
  const BenchShape shape({{"tokens", small ? 256 : 32768},
                          {"documents", small ? 2 : 16},
                          {"heads", small ? 2 : 4},
                          {"key_dim", small ? 64 : 128},
                          {"value_dim", small ? 64 : 256},
                          {.key = "kind", .choices = {"gla", "per-head", "no-decay"}},
                          {.key = "decoding", .choices = {"no", "yes"}}});
  std::vector<BenchShape> shapes = {shape};
  if (small) return shapes;
  for (const int64_t documents : {16, 1}) {
    if (documents == 1) shapes.push_back(shape.With({{"documents", 1}}));
    shapes.push_back(shape.With({{"documents", documents}, {"key_dim", 256}, {"value_dim", 512}}));
  }
  for (const int64_t kind : {0, 1, 2}) {
    shapes.push_back(shape.With({{"heads", 16}, {"value_dim", 128}, {"kind", kind}}));
  }
  for (const int64_t batch : {1, 64}) {
    shapes.push_back(shape.With({{"tokens", batch}, {"documents", batch}, {"decoding", 1}}));
  }
  return shapes;
}

absl::StatusOr<BenchCase<GatedLinearAttention>> GatedLinearAttention::BenchCaseOf(
    const BenchShape& s) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> offsets, OffsetsOf(s));
  const int64_t T = s["tokens"], heads = s["heads"], key_dim = s["key_dim"];
  const int64_t value_dim = s["value_dim"];
  const Kind& kind = kKinds[s["kind"]];
  BenchCase<GatedLinearAttention> c;
  c.name = absl::StrCat(kind.name, ", ", DocsName(offsets), " x ", heads, " x ", key_dim, " to ",
                        value_dim);
  c.in.q.shape = c.in.k.shape = {T, heads, key_dim};
  c.in.v.shape = {T, heads, value_dim};
  c.params.cu_seqlens_host = offsets;
  c.params.cu_seqlens = ToTensor(offsets);
  c.params.decay = kind.decay;
  c.params.gate = LinearGate::kLogSigmoid;
  c.params.normalizer = 16;
  if (kind.decay == LinearDecay::kPerChannel) c.in.gate.shape = c.in.k.shape;
  if (kind.decay == LinearDecay::kPerHead) c.in.gate.shape = {T, heads};
  if (s["decoding"] == 1) {  // each document continues from a state to the next
    c.name = absl::StrCat(kind.name, ", decoding, batch ", s["documents"]);
    c.in.h0.shape = {s["documents"], heads, key_dim, value_dim};
    c.params.output_final_state = true;
    c.forward_only = true;
  }
  return c;
}

}  // namespace wyvern
