// Which kernels serve a gated delta rule on a GPU, how they divide the work and what they keep in
// memory: a value that CUDA, the meta device and tests compute alike, and that can be printed.
#ifndef WYVERN_KERNELS_DELTA_RULE_PLAN_H_
#define WYVERN_KERNELS_DELTA_RULE_PLAN_H_

#include <cstdint>
#include <string>

#include "kernels/delta_rule/gated_delta_rule.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {

inline constexpr int64_t kDeltaChunk = 64;       // tokens
inline constexpr int64_t kDeltaRowFactors = 10;  // fp32 numbers that Hopper keeps of a row

enum class DeltaRulePath {
  kRecurrence,  // token by token, in one launch
  kChunks,      // by chunks, any GPU and size (cuda/)
  kSm90,        // by chunks, compute capability 9.0 (sm90/)
};

constexpr const char* Name(DeltaRulePath path) {
  return path == DeltaRulePath::kRecurrence ? "recurrence"
         : path == DeltaRulePath::kChunks   ? "chunks"
                                            : "sm90";
}

// The choice depends on these.
struct DeltaRuleDesc {
  DType dtype = DType::kBf16;  // of q, k, v and o: bf16 or fp32
  int64_t num_docs = 0, num_tokens = 0;
  const int32_t* cu_seqlens = nullptr;  // [num_docs + 1] on the host
  int64_t num_heads = 1, num_value_heads = 1;
  int64_t key_dim = 0, value_dim = 0;
  DeltaDecay decay = DeltaDecay::kNone;
  bool gradient = false;  // the forward keeps a workspace for a backward, or this is the backward
  bool aligned = true;    // q, k, v and gate lie at multiples of 16 bytes
};

template <typename Io>
DeltaRuleDesc DescOf(const GatedDeltaRuleInputs<Io>& in, bool gradient) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return {.dtype = kDTypeOf<Io>,
          .num_docs = in.num_docs,
          .num_tokens = in.num_tokens,
          .cu_seqlens = in.cu_seqlens_host,
          .num_heads = in.num_heads,
          .num_value_heads = in.num_value_heads,
          .key_dim = in.key_dim,
          .value_dim = in.value_dim,
          .decay = in.decay,
          .gradient = gradient,
          .aligned = aligned(in.q) && aligned(in.k) && aligned(in.v) && aligned(in.gate)};
}

// The Hopper path keeps these arrays for the backward. They follow one another in this order.
struct Sm90DeltaWorkspace {
  int64_t square_bytes = 0;         // A, and P as large: bf16 [NC, HV, 64, 64]
  int64_t rows_bytes = 0;           // row factors: fp32 [NC, HV, kDeltaRowFactors, 64]
  int64_t decay_bytes = 0;          // e^{G_C}: fp32 [NC, HV, K]; none without decay
  int64_t segment_state_bytes = 0;  // S entering each segment: fp32 [NS, HV, K, V]
  int64_t transition_bytes = 0;     // Phi of each segment: fp32 [NS, HV, K, K]

  int64_t bytes() const {
    return 2 * square_bytes + rows_bytes + decay_bytes + segment_state_bytes + transition_bytes;
  }
};

struct DeltaRulePlan {
  DeltaRulePath path = DeltaRulePath::kChunks;
  int64_t num_chunks = 0;  // NC, of up to kDeltaChunk tokens of one document

  // Hopper alone. Few long documents are cut into segments, which are scanned in parallel; 0: none.
  int64_t num_segments = 0, segment_chunks = 0;  // NS, and the chunks of each but a document's last
  int64_t scan_columns = 0;                      // value columns of a block of the scans
  Sm90DeltaWorkspace kept;

  int64_t workspace_bytes = 0;  // what the forward keeps for the backward
  int64_t backward_bytes = 0;   // what the backward holds beside inputs, workspace and outputs

  // "sm90: 512 chunks, 5 segments of 125, scans of 64 value columns; keeps 1.0 MB, ..."
  std::string ToString() const;
};

// The sizes are those that the op accepts: key and value dims 1 .. 256.
DeltaRulePlan ChooseDeltaRule(const DeltaRuleDesc& desc, const GpuInfo& gpu);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_DELTA_RULE_PLAN_H_
