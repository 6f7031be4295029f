// What the delta rule's Hopper path (kernels/delta_rule/sm90/passes.cuh) keeps in memory, as values
// that can be computed without a GPU.
#ifndef WYVERN_KERNELS_DELTA_RULE_GATED_DELTA_RULE_MEMORY_H_
#define WYVERN_KERNELS_DELTA_RULE_GATED_DELTA_RULE_MEMORY_H_

#include <algorithm>

#include "kernels/delta_rule/gated_delta_rule.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {

inline constexpr int64_t kDeltaChunk = 64;       // tokens
inline constexpr int64_t kDeltaRowFactors = 10;  // fp32 numbers of a token and value head
inline constexpr int64_t kMinDeltaSegmentChunks = 16;

template <typename Io>
int64_t CountDeltaChunks(const GatedDeltaRuleInputs<Io>& in) {
  int64_t chunks = 0;
  for (int64_t n = 0; n < in.num_docs; ++n) {
    chunks += (in.cu_seqlens_host[n + 1] - in.cu_seqlens_host[n] + kDeltaChunk - 1) / kDeltaChunk;
  }
  return chunks;
}

// Number and length (chunks) of the segments into which documents are cut; 0 segments: walked
// whole.
struct DeltaSegmentPlan {
  int num_segments = 0, segment_chunks = 0;
};

template <typename Io>
DeltaSegmentPlan PlanDeltaSegments(const GatedDeltaRuleInputs<Io>& in, int64_t num_sms) {
  const auto ceil_div = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t heads = in.num_value_heads * (in.value_dim / 64);  // blocks of a serial pass
  // Below a third of the GPU's blocks, the segments' second scan is the smaller cost.
  if (in.num_docs * heads * 3 > num_sms) return {};
  const int64_t length =
      std::max(ceil_div(CountDeltaChunks(in) * heads, num_sms), kMinDeltaSegmentChunks);
  DeltaSegmentPlan plan;
  int64_t longest = 0;
  for (int64_t n = 0; n < in.num_docs; ++n) {
    const int64_t own = ceil_div(in.cu_seqlens_host[n + 1] - in.cu_seqlens_host[n], kDeltaChunk);
    longest = std::max(longest, own);
    plan.num_segments += static_cast<int>(std::max<int64_t>(ceil_div(own, length), 1));
  }
  if (longest <= 2 * length) return {};
  plan.segment_chunks = static_cast<int>(length);
  return plan;
}

// What the forward keeps for the backward.
struct DeltaWorkspace {
  int64_t chunk_heads = 0, segment_heads = 0;
  int64_t key_dim = 0, value_dim = 0;
  bool has_decay = false;

  int64_t square_bytes() const { return chunk_heads * kDeltaChunk * kDeltaChunk * 2; }
  int64_t rows_bytes() const { return chunk_heads * kDeltaRowFactors * kDeltaChunk * 4; }
  int64_t decay_bytes() const { return has_decay ? chunk_heads * key_dim * 4 : 0; }
  int64_t segment_state_bytes() const { return segment_heads * key_dim * value_dim * 4; }
  int64_t transition_bytes() const { return segment_heads * key_dim * key_dim * 4; }
  int64_t bytes() const {
    return 2 * square_bytes() + rows_bytes() + decay_bytes() + segment_state_bytes() +
           transition_bytes();
  }
};

template <typename Io>
DeltaWorkspace DeltaWorkspaceOf(const GatedDeltaRuleInputs<Io>& in, int64_t num_sms) {
  return {.chunk_heads = CountDeltaChunks(in) * in.num_value_heads,
          .segment_heads = PlanDeltaSegments(in, num_sms).num_segments * in.num_value_heads,
          .key_dim = in.key_dim,
          .value_dim = in.value_dim,
          .has_decay = in.decay != DeltaDecay::kNone};
}

// What the backward holds beside its inputs, the workspace and its outputs.
template <typename Io>
int64_t DeltaBackwardBytes(const GatedDeltaRuleInputs<Io>& in, int64_t num_sms) {
  const DeltaWorkspace kept = DeltaWorkspaceOf(in, num_sms);
  const int64_t token_heads = in.num_tokens * in.num_value_heads;
  const int64_t operands = in.decay == DeltaDecay::kPerChannel ? 3 * token_heads * in.key_dim : 0;
  const int64_t states = 2 * kept.chunk_heads * in.key_dim * in.value_dim;  // S and dS
  return 2 * (operands + states + token_heads * in.value_dim) + 2 * kept.segment_state_bytes();
}

// The meta device stands for a Hopper GPU.
inline constexpr int64_t kMetaSms = 132;

template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(MetaTag, const GatedDeltaRuleInputs<Io>& in) {
  return static_cast<size_t>(DeltaWorkspaceOf(in, kMetaSms).bytes());
}
template <typename Io>
void GatedDeltaRuleFwd(MetaTag, const GatedDeltaRuleFwdParams<Io>&) {}
template <typename Io>
void GatedDeltaRuleBwd(MetaTag, const GatedDeltaRuleBwdParams<Io>& p) {
  CountScratch(static_cast<size_t>(DeltaBackwardBytes(p.in, kMetaSms)));
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_DELTA_RULE_GATED_DELTA_RULE_MEMORY_H_
