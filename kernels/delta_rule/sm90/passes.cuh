// The chunkwise gated delta rule on Hopper: its passes and their arguments. bf16 inputs, key dim 64
// or 128, value dim 64, 128 or 256; everything else takes the general path. The notation is that of
// ../cuda/passes.cuh and ../README.md: chunks of up to 64 rows, G the running sum of log decays in
// a chunk clamped to -20 per step, r the factor of the L2 norm, s the scale, A = (I + Diag(beta)
// M)^-1.
//
//   WyHeads             per chunk and value head: row factors, A, P
//   WyChannels          the same with a decay per channel, and the decayed operands
//   ChannelOperands     those operands again, for the backward
//   OutputScan          serial over a document's chunks, S^T in registers: o
//   StateScan           the same in the backward: e and the S that enters each chunk
//   StateScanBackward   serial in reverse, dS^T in registers: dv, the dS+ that leaves each chunk
//   ChunkGradHeads      per chunk and value head: dq, dk, dbeta, dg
//   ChunkGradChannels   the same with a decay per channel
//
// Where documents are too few to fill the GPU they are cut into segments of chunks, which are then
// scanned in parallel. A segment maps the state that enters it to Phi S + E: E is its scan from 0,
// Phi that of the identity with v = 0. Both come from one more scan. They are combined, exactly but
// for rounding, into the state that enters each segment. Backward, dS becomes Phi^T dS + F.
//
// With a decay per head or none, tensor cores are fed with the caller's q and k, and the factors of
// a row are applied in fp32 to the other side. With one per channel, WyChannels stores the operands
// r e^G q, r e^G k and r e^{G_C - G} k, and the factors of a row are 1.
#pragma once

#include "kernels/delta_rule/cuda/chunks.cuh"

namespace wyvern::sm90 {

using delta::Arena;
using delta::Chunk;
using delta::kChunk;
using delta::kMinBetaSm90;
using delta::kMinLogDecay;

// Row factors of a chunk and value head, 64 of each; those of rows beyond the chunk are zeros.
enum RowFactor {
  kQueryFactor,  // s r_q e^G       (per channel: s)
  kKeyFactor,    // r_k e^G         (per channel: 1)
  kBarFactor,    // r_k e^{G_C - G} (per channel: 1)
  kBeta,
  kQueryNorm,  // r_q
  kKeyNorm,    // r_k
  // 0 unless the decay is per head or none: G, and what the gradients of beta (before its square is
  // divided out), of the log decay and again of the log decay are multiplied with to become those
  // of what `beta` holds, of the gate and of a_log.
  kGate,
  kBetaSlope,
  kGateSlope,
  kRateSlope,
  kNumRowFactors,
};
static_assert(kNumRowFactors == kDeltaRowFactors);

struct Segment {
  int begin, end, doc, unused;  // chunks begin .. end - 1
};

// States and their gradients are held transposed, [V, K]. chunk_decay is null without decay.
struct Args : delta::ChunkArgs<Bf16> {
  int num_sms = 0;        // over which launches divide the work
  int scan_groups = 1;    // consumer warpgroups of a scan's block, 64 value columns each
  float* rows = nullptr;  // [NC, HV, kNumRowFactors, 64]
  Bf16* ut = nullptr;     // [NC, HV, 64, 64] A; as P, with s, norms and decays, zero in rows and
                          // columns beyond the chunk and above its diagonal
  Bf16* dv = nullptr;     // [T, HV, V] beta y

  // Segments; none when documents are scanned whole.
  int num_segments = 0, segment_chunks = 0;
  const Segment* segments = nullptr;  // [NS]
  float* segment_states = nullptr;    // [NS, HV, K, V] S entering the segment
  float* transitions = nullptr;       // [NS, HV, K, K] Phi
  float* segment_d_states = nullptr;  // [NS, HV, K, V] dS leaving the segment

  // Documents or segments, which scans go through at the same time.
  __host__ __device__ int num_scans() const {
    return segments == nullptr ? num_docs : num_segments;
  }
  __host__ __device__ int key_blocks() const { return key_dim / 64; }
};

// The op's entries, where the plan's path is kSm90.
void Forward(const GatedDeltaRuleFwdParams<Bf16>& p, const DeltaRulePlan& plan, const GpuInfo& gpu,
             cudaStream_t stream);
void Backward(const GatedDeltaRuleBwdParams<Bf16>& p, const DeltaRulePlan& plan, const GpuInfo& gpu,
              cudaStream_t stream);

// Fills rows, chunk_decay, ut and p. Without decay or with one per head.
void WyHeads(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream);
// The same, and the operands, with a decay per channel.
void WyChannels(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream);
// The operands alone, from rows, where the rest is there already.
void ChannelOperands(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream);

// Fills segments from doc_chunks.
void ListSegments(const Args& args, Segment* segments, cudaStream_t stream);
// args.segment_states and args.transitions, from h0.
void EnterSegments(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream);
// args.segment_d_states from d_o and dht.
void LeaveSegments(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                   const float* d_ht, cudaStream_t stream);

// o [T, HV, V] and ht from S_0 = h0 ([N, HV, K, V] fp32 or null). Reads rows, chunk_decay, ut,
// p and q, k, v or the operands.
void OutputScan(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, Bf16* o, float* ht,
                cudaStream_t stream);
// args.states and args.e.
void StateScan(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream);

// args.d_states, args.dv and dh0 from d_o [T, HV, V] and dht ([N, HV, K, V] fp32 or null).
void StateScanBackward(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                       const float* d_ht, float* d_h0, cudaStream_t stream);

// The gradient passes write these; each may be null. d_gate, d_a_log and d_dt_bias are so without a
// decay.
struct ChunkGrads {
  Bf16 *dq = nullptr, *dk = nullptr;  // [T, H, K] norm's backward and the sum over a group included
  Bf16* d_beta = nullptr;             // [T, HV] of what `beta` holds
  Bf16* d_gate = nullptr;             // [T, HV, G] of what `gate` holds
  float* d_a_log = nullptr;           // [HV] a sum over tokens in a fixed order
  float* d_dt_bias = nullptr;         // [HV, G] likewise
};

// `grads` from rows, chunk_decay, states, e, d_states, dv and d_o [T, HV, V]. Without decay or with
// one per head.
void ChunkGradHeads(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                    const ChunkGrads& grads, cudaStream_t stream);
// The same with a decay per channel.
void ChunkGradChannels(const Args& args, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                       const ChunkGrads& grads, cudaStream_t stream);

}  // namespace wyvern::sm90
