// The delta-rule family at the sizes of models of a billion parameters and more; on the CPU at that
// of a small one.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/delta_rule/gated_delta_rule.h"

namespace wyvern {
namespace {

struct Kind {
  const char* name;
  DeltaDecay decay;
  DeltaGate gate;
};

constexpr Kind kKinds[] = {
    {"delta", DeltaDecay::kNone, DeltaGate::kLogDecay},
    {"gdn", DeltaDecay::kPerHead, DeltaGate::kSoftplus},
    {"kda", DeltaDecay::kPerChannel, DeltaGate::kSoftplus},
    {"kda, bounded", DeltaDecay::kPerChannel, DeltaGate::kBounded},
};
enum KindIndex : int64_t { kDelta, kGdn, kKda, kBounded };

}  // namespace

std::vector<BenchShape> GatedDeltaRule::BenchShapes(Device device) {
  const bool small = device == Device::kCpu;
  const BenchShape shape({{"tokens", small ? 256 : 32768},
                          {"documents", small ? 2 : 16},
                          {"heads", small ? 2 : 16},
                          {"key_dim", small ? 64 : 128},
                          {"value_dim", small ? 64 : 128},
                          {.key = "kind", .choices = {"delta", "gdn", "kda", "kda-bounded"}},
                          {.key = "decoding", .choices = {"no", "yes"}}});
  std::vector<BenchShape> shapes;
  for (const int64_t documents : {small ? 2 : 16, 1}) {
    for (const int64_t kind : {kDelta, kGdn, kKda, kBounded}) {
      if (small && documents == 1 && kind != kDelta) continue;
      shapes.push_back(shape.With({{"documents", documents}, {"kind", kind}}));
    }
  }
  if (small) return shapes;
  const auto add = [&](int64_t kind, int64_t documents, int64_t heads) {
    shapes.push_back(shape.With({{"tokens", 2048 * documents},
                                 {"documents", documents},
                                 {"heads", heads},
                                 {"kind", kind}}));
  };
  add(kGdn, 8, 12);
  shapes.back() = shapes.back().With({{"value_dim", 256}});
  for (const int64_t kind : {kDelta, kGdn, kKda}) {
    add(kind, 8, 16);
    add(kind, 32, 16);
    add(kind, 16, 32);
    add(kind, 8, 96);
  }
  for (const int64_t batch : {1, 16, 64, 256}) {
    for (const int64_t kind : {kDelta, kKda}) {
      shapes.push_back(
          shape.With({{"tokens", batch}, {"documents", batch}, {"kind", kind}, {"decoding", 1}}));
    }
  }
  return shapes;
}

absl::StatusOr<BenchCase<GatedDeltaRule>> GatedDeltaRule::BenchCaseOf(const BenchShape& s) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> offsets, OffsetsOf(s));
  const int64_t T = s["tokens"], heads = s["heads"], key_dim = s["key_dim"];
  const int64_t value_dim = s["value_dim"];
  const Kind& kind = kKinds[s["kind"]];
  BenchCase<GatedDeltaRule> c;
  c.name = absl::StrCat(kind.name, ", ", DocsName(offsets), " x ", heads, " x ", key_dim,
                        value_dim == key_dim ? "" : absl::StrCat(" to ", value_dim));
  c.in.q.shape = c.in.k.shape = {T, heads, key_dim};
  c.in.v.shape = {T, heads, value_dim};
  c.in.beta.shape = {T, heads};
  c.params.cu_seqlens_host = offsets;
  c.params.cu_seqlens = ToTensor(offsets);
  c.params.decay = kind.decay;
  c.params.gate = kind.gate;
  c.params.beta = DeltaBeta::kSigmoid;
  if (kind.decay != DeltaDecay::kNone) {
    const bool per_channel = kind.decay == DeltaDecay::kPerChannel;
    c.in.gate.shape = per_channel ? c.in.k.shape : Shape{T, heads};
    c.in.a_log = Weight({heads}, std::log(8.0), 0.5);
    c.in.dt_bias = Weight(per_channel ? Shape{heads, key_dim} : Shape{heads}, -4.6, 1);
  }
  if (s["decoding"] == 1) {  // each document continues from a state to the next
    c.name = absl::StrCat(kind.name, ", decoding, batch ", s["documents"]);
    c.in.h0.shape = {s["documents"], heads, key_dim, value_dim};
    c.params.output_final_state = true;
    c.forward_only = true;
  }
  return c;
}

}  // namespace wyvern
