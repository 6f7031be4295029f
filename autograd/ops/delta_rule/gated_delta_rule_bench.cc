// The delta-rule family at the sizes of models of a billion parameters and more; on the CPU at that
// of a small one.
#include <cmath>

#include "autograd/check/bench_inputs.h"
#include "autograd/ops/delta_rule/gated_delta_rule.h"

namespace wyvern {
namespace {

using Case = BenchCase<GatedDeltaRule>;

struct Kind {
  const char* name;
  DeltaDecay decay;
  DeltaGate gate;
};

struct Sizes {
  int32_t num_docs, doc_length;
  int64_t heads, key_dim, value_dim;
};

Case MakeCase(const Kind& kind, const Sizes& s) {
  const std::vector<int32_t> offsets = Offsets(s.num_docs, s.doc_length);
  const int64_t T = offsets.back();
  Case c;
  c.name = absl::StrCat(kind.name, ", ", DocsName(offsets), " x ", s.heads, " x ", s.key_dim,
                        s.value_dim == s.key_dim ? "" : absl::StrCat(" to ", s.value_dim));
  c.in.q.shape = c.in.k.shape = {T, s.heads, s.key_dim};
  c.in.v.shape = {T, s.heads, s.value_dim};
  c.in.beta.shape = {T, s.heads};
  c.params.cu_seqlens_host = offsets;
  c.params.cu_seqlens = ToTensor(offsets);
  c.params.decay = kind.decay;
  c.params.gate = kind.gate;
  c.params.beta = DeltaBeta::kSigmoid;
  if (kind.decay != DeltaDecay::kNone) {
    const bool per_channel = kind.decay == DeltaDecay::kPerChannel;
    c.in.gate.shape = per_channel ? c.in.k.shape : Shape{T, s.heads};
    c.in.a_log = Weight({s.heads}, std::log(8.0), 0.5);
    c.in.dt_bias = Weight(per_channel ? Shape{s.heads, s.key_dim} : Shape{s.heads}, -4.6, 1);
  }
  return c;
}

// One token of each of `batch` documents, from a state to the next.
Case DecodingCase(const Kind& kind, int32_t batch) {
  Case c = MakeCase(kind, {batch, 1, 16, 128, 128});
  c.name = absl::StrCat(kind.name, ", decoding, batch ", batch);
  c.in.h0.shape = {batch, 16, 128, 128};
  c.params.output_final_state = true;
  c.forward_only = true;
  return c;
}

}  // namespace

std::vector<Case> GatedDeltaRule::BenchCases(Device device) {
  const Kind delta = {"delta", DeltaDecay::kNone, DeltaGate::kLogDecay};
  const Kind gdn = {"gdn", DeltaDecay::kPerHead, DeltaGate::kSoftplus};
  const Kind kda = {"kda", DeltaDecay::kPerChannel, DeltaGate::kSoftplus};
  const Kind bounded = {"kda, bounded", DeltaDecay::kPerChannel, DeltaGate::kBounded};
  std::vector<Case> cases;
  if (device == Device::kCpu) {
    for (const Kind& kind : {delta, gdn, kda, bounded}) {
      cases.push_back(MakeCase(kind, {2, 128, 2, 64, 64}));
    }
    cases.push_back(MakeCase(delta, {1, 256, 2, 64, 64}));
    return cases;
  }
  for (const auto& [num_docs, doc_length] : {std::pair(16, 2048), std::pair(1, 32768)}) {
    for (const Kind& kind : {delta, gdn, kda, bounded}) {
      cases.push_back(MakeCase(kind, {num_docs, doc_length, 16, 128, 128}));
    }
  }
  cases.push_back(MakeCase(gdn, {8, 2048, 12, 128, 256}));
  for (const Kind& kind : {delta, gdn, kda}) {
    cases.push_back(MakeCase(kind, {8, 2048, 16, 128, 128}));
    cases.push_back(MakeCase(kind, {32, 2048, 16, 128, 128}));
    cases.push_back(MakeCase(kind, {16, 2048, 32, 128, 128}));
    cases.push_back(MakeCase(kind, {8, 2048, 96, 128, 128}));
  }
  for (const int32_t batch : {1, 16, 64, 256}) {
    for (const Kind& kind : {delta, kda}) cases.push_back(DecodingCase(kind, batch));
  }
  return cases;
}

}  // namespace wyvern
