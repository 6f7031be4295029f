// The passes of chunkwise gated linear attention and what they share. Internal to this folder.
//
// Within a chunk of up to 64 rows, with G the running sum of log decays over its rows, G_C its last
// row, S the state entering and s the scale (arXiv 2312.06635 section 4):
//
//   P_ij = s sum_d q_id k_jd exp(G_id - G_jd), i >= j      qe = s e^G q      kbar_j = e^{G_C - G_j}
//   k_j o = qe S + P v                                          S+ = Diag(e^{G_C}) S + kbar^T v
//
// and backward, with dS+ the gradient of the state that leaves the chunk:
//
//   dv = kbar dS+ + P^T dO                                  dS = Diag(e^{G_C}) dS+ + qe^T dO
//
// Both are one recurrence, in opposite directions: a chunk reads the state through one operand (qe;
// kbar), adds its square times the value (v; dO), and writes to the state through the other
// operand. Passes, each one kernel:
//   intra   qe, kbar, e^{G_C}, P                                       (per chunk and head)
//   scan    o, S entering each chunk; dv, dS+ of each chunk            (serial over chunks)
//   grad    dq, dk, dg                                                 (per chunk and head)
// Where documents are few, they are cut into spans: each span is scanned from zero, one kernel
// joins the spans' states, and the scan runs again from what enters each span.
//
// No exponential of a positive number occurs: e^{G_i - G_j} is the product of the decays between. A
// thread owns 16 rows of one channel, and chunks are four blocks of 16 rows. Pairs of rows in one
// block are taken in fp32; those of different blocks by tensor cores, from q times the decays since
// its block's beginning and k times those up to its block's end.
#pragma once

#include <type_traits>
#include <vector>

#include "kernels/common/tile_mma.cuh"
#include "kernels/linear_attention/gated_linear_attention_plan.h"

namespace wyvern::linear_attention {

constexpr int kChunk = kTile;
static_assert(kChunk == kLinearAttentionChunk);
constexpr int kBlock = 16;  // rows
constexpr int kBlocks = kChunk / kBlock;
static_assert(kTileThreads == kBlocks * kTile, "a thread for each block and channel of a tile");

// Sizes and buffers of one application. Key and value dims are padded with zeros to multiples of 64
// in every buffer that is not the caller's.
template <typename T>
struct Args {
  GatedLinearAttentionInputs<T> in;
  int num_docs = 0, heads = 0, value_heads = 0, group = 0;  // group = value_heads / heads
  int key_dim = 0, value_dim = 0, key_pad = 0, value_pad = 0;
  bool key_vectors = false;  // rows of q, k and decays per channel move in 16-byte pieces
  int chunk_slots = 0;
  int span_tokens = 0, span_slots = 0;  // 0: documents are scanned whole

  T *q_operand = nullptr, *k_operand = nullptr;  // [T, HV, Kp] qe, kbar
  float* chunk_decay = nullptr;                  // [chunk slots, HV, Kp] e^{G_C}
  T* p = nullptr;                                // [chunk slots, HV, 64, 64]
  T *states = nullptr, *d_states = nullptr;      // [chunk slots, HV, Kp, Vp] S, dS+; backward
  float *dq_sum = nullptr, *dk_sum = nullptr;    // [T, H, K] of groups' first heads; backward
  float* head_dg = nullptr;                      // [T, HV] of a decay per head; backward
  float* span_decay = nullptr;                   // [span slots, HV, Kp]
  float* span_state = nullptr;                   // [span slots, HV, K, V]
};

// Tokens of a slot of LinearAttentionSlots; none if it is unused.
struct Piece {
  int first, rows, doc;
};
__device__ __forceinline__ Piece PieceOfSlot(const int* cu_seqlens, int num_docs, int unit,
                                             int slot) {
  int low = 0, high = num_docs;  // the first slot of document `low` is at most `slot`
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (cu_seqlens[middle] / unit + middle <= slot ? low : high) = middle;
  }
  const int begin = cu_seqlens[low];
  const int first = begin + (slot - begin / unit - low) * unit;
  return {first, max(0, min(unit, cu_seqlens[low + 1] - first)), low};
}

// ---- The gate ----

template <typename T>
__device__ __forceinline__ float Exp(float x) {
  return kIsBf16<T> ? __expf(x) : expf(x);
}

struct Gate {
  LinearGate form;
  float inverse_normalizer, min_log_decay;
};
template <typename T>
Gate GateOf(const GatedLinearAttentionInputs<T>& in) {
  return {in.gate_form, static_cast<float>(1 / in.normalizer),
          static_cast<float>(in.min_log_decay)};
}

// log(sigmoid(x)) and sigmoid(-x). For bf16 the logarithm is exact to 1e-7 of 1, not of itself,
// which is all that its exponential shows.
struct LogSigmoid {
  float value, slope;
};
template <typename T>
__device__ __forceinline__ LogSigmoid LogSigmoidOf(float x) {
  const float e = Exp<T>(-fabsf(x)), numerator = x > 0.f ? e : 1.f;
  const float rest = kIsBf16<T> ? __logf(1.f + e) : log1pf(e);
  return {fminf(x, 0.f) - rest,
          kIsBf16<T> ? __fdividef(numerator, 1.f + e) : numerator / (1.f + e)};
}

// Several values at a time, so that they need one branch.
// x: gate inputs, which become the decays exp(g).
template <typename T, int kCount>
__device__ __forceinline__ void ToDecays(const Gate& gate, float (&x)[kCount]) {
  if (gate.form == LinearGate::kLogSigmoid) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = LogSigmoidOf<T>(x[i]).value * gate.inverse_normalizer;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) x[i] = Exp<T>(fmaxf(x[i], gate.min_log_decay));
}
// dg: gradients of g, which become those of the gate inputs x.
template <typename T, int kCount>
__device__ __forceinline__ void ToGateGradients(const Gate& gate, const float (&x)[kCount],
                                                float (&dg)[kCount]) {
  if (gate.form == LinearGate::kLogSigmoid) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const LogSigmoid s = LogSigmoidOf<T>(x[i]);
      dg[i] *= s.slope * gate.inverse_normalizer;
      if (s.value * gate.inverse_normalizer < gate.min_log_decay) dg[i] = 0.f;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (x[i] < gate.min_log_decay) dg[i] = 0.f;
    }
  }
}

// ---- Rows of one channel ----

// Starts to copy q, k and a decay per channel of a chunk, 64 channels from `channel`, to three
// tiles.
template <typename T>
__device__ __forceinline__ void CopyRows(T (*tiles)[kTileSize<T>], const Args<T>& args,
                                         const Piece& chunk, int hv, int channel) {
  const int K = args.key_dim, columns = min(kTile, K - channel);
  const int64_t key_ld = static_cast<int64_t>(args.heads) * K;
  const int64_t key = chunk.first * key_ld + hv / args.group * K + channel;
  LoadTile(tiles[0], args.in.q + key, key_ld, chunk.rows, columns, args.key_vectors);
  LoadTile(tiles[1], args.in.k + key, key_ld, chunk.rows, columns, args.key_vectors);
  if (args.in.decay != LinearDecay::kPerChannel) return;
  const int64_t gate_ld = static_cast<int64_t>(args.value_heads) * K;
  LoadTile(tiles[2], args.in.gate + chunk.first * gate_ld + hv * K + channel, gate_ld, chunk.rows,
           columns, args.key_vectors);
}

// A thread's part of its block: q, k and decays of rows that exist, 0, 0 and 1 of others.
struct BlockRows {
  float q[kBlock], k[kBlock], a[kBlock];
};
// tiles: as CopyRows left them, complete; a decay per head is put into the third. rows: of this
// block and channel that exist.
template <typename T>
__device__ __forceinline__ BlockRows RowsOf(T (*tiles)[kTileSize<T>], const Args<T>& args,
                                            const Gate& gate, const Piece& chunk, int hv, int block,
                                            int column, int rows) {
  BlockRows x;
  const int at = block * kBlock * kTileLd<T> + column;
  if (args.in.decay == LinearDecay::kPerHead) {
    const T* const gates = args.in.gate + static_cast<int64_t>(chunk.first) * args.value_heads + hv;
#pragma unroll
    for (int r = 0; r < kBlock; ++r) {  // none waits for a branch
      const int row = min(block * kBlock + r, chunk.rows - 1);
      tiles[2][at + r * kTileLd<T>] = gates[row * args.value_heads];
    }
  }
#pragma unroll
  for (int r = 0; r < kBlock; ++r) x.a[r] = 1.f;
  if (args.in.decay != LinearDecay::kNone) {
#pragma unroll
    for (int r = 0; r < kBlock; ++r) x.a[r] = ToFloatDevice(tiles[2][at + r * kTileLd<T>]);
    ToDecays<T>(gate, x.a);
#pragma unroll
    for (int r = 0; r < kBlock; ++r) {
      if (r >= rows) x.a[r] = 1.f;
    }
  }
#pragma unroll
  for (int r = 0; r < kBlock; ++r) {
    x.q[r] = ToFloatDevice(tiles[0][at + r * kTileLd<T>]);
    x.k[r] = ToFloatDevice(tiles[1][at + r * kTileLd<T>]);
  }
  return x;
}

// Products of a channel's decays over whole blocks, from those of each block.
struct BlockDecays {
  float before, after, all;  // of the blocks before and after this one; of the chunk
  float second, third;       // of blocks 1 and 2
};
// decays [kBlocks][kTile] in shared memory, complete.
__device__ __forceinline__ BlockDecays DecaysAround(const float (*decays)[kTile], int block,
                                                    int column) {
  BlockDecays d{1.f, 1.f, 1.f, decays[1][column], decays[2][column]};
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const float own = decays[b][column];
    d.all *= own;
    if (b < block) d.before *= own;
    if (b > block) d.after *= own;
  }
  return d;
}

// Pairs of different blocks in one product of two tiles. The 16 x 16 part (I, J) of P, I > J, needs
// q_I (decays since block I began), k_J (decays to the end of block J) and the decays of the blocks
// between. Part (2, 0) takes block 1's with k, (3, 1) takes block 2's with q and (3, 0) both, so
// that q has two versions of block 3, and k of block 0. Block 0 of q and block 3 of k are not
// needed: their places hold the versions without the decays between.
//
//   slot           0          1      2      3
//   rows of q      q_3        q_1    q_2    q_3 a_2
//   rows of k      k_0        k_1    k_2    k_0 a_1
//
// The block pair at row slot R and column slot C: I and J, or -1 if it is of no use.
struct BlockPair {
  int i, j;
};
__device__ __forceinline__ BlockPair PairOfSlots(int r, int c) {
  if (r == 0) return c == 2 ? BlockPair{3, 2} : BlockPair{-1, -1};
  if (r == 1) return c == 0 ? BlockPair{1, 0} : BlockPair{-1, -1};
  if (c == 1) return {r, 1};
  return c == 3 ? BlockPair{r, 0} : BlockPair{-1, -1};
}

// Stores a thread's rows of q and k, times their decays within the block, into the slots' tiles.
template <typename T>
__device__ __forceinline__ void StoreSlots(T* q_slots, T* k_slots, const BlockRows& x,
                                           const BlockDecays& d, int block, int column) {
  constexpr int kLd = kTileLd<T>;
  const int q_slot = block == 3 ? 0 : block, k_slot = block;
  float decay = 1.f;
#pragma unroll
  for (int r = 0; r < kBlock; ++r) {
    decay *= x.a[r];
    const float q = x.q[r] * decay;
    if (block > 0) q_slots[(q_slot * kBlock + r) * kLd + column] = FromFloatDevice<T>(q);
    if (block == 3) {
      q_slots[(3 * kBlock + r) * kLd + column] = FromFloatDevice<T>(q * d.third);
    }
  }
  decay = 1.f;
#pragma unroll
  for (int r = kBlock - 1; r >= 0; --r) {
    const float k = x.k[r] * decay;
    decay *= x.a[r];
    if (block < 3) k_slots[(k_slot * kBlock + r) * kLd + column] = FromFloatDevice<T>(k);
    if (block == 0) {
      k_slots[(3 * kBlock + r) * kLd + column] = FromFloatDevice<T>(k * d.second);
    }
  }
}

// ---- Passes, all asynchronous on `stream` ----

template <typename T>
void Intra(const Args<T>& args, cudaStream_t stream);

// One direction of the recurrence over chunks.
template <typename T>
struct ScanParams {
  bool reverse = false;
  const T* value = nullptr;      // [T, HV, V] v; dO
  const float* start = nullptr;  // [N, HV, K, V] h0; dht; null: zeros
  float* end = nullptr;          // [N, HV, K, V] ht; dh0; or null
  T* out = nullptr;              // [T, HV, V] o; dv; or null
  T* states = nullptr;           // [chunk slots, HV, Kp, Vp] S; dS+; or null
};
template <typename T>
void Scan(const Args<T>& args, const ScanParams<T>& params, cudaStream_t stream);

template <typename T>
void Grad(const Args<T>& args, const GatedLinearAttentionBwdParams<T>& p, cudaStream_t stream);

// The whole forward, one token after another.
template <typename T>
void Steps(const GatedLinearAttentionFwdParams<T>& p, cudaStream_t stream);

// A kernel may use `bytes` of dynamic shared memory.
template <class Kernel>
void AllowSharedMemory(Kernel* kernel, size_t bytes) {
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)));
}

// Whether rows of the caller's [.., dim] tensor can be moved in 16-byte pieces.
template <typename T>
bool MovesInVectors(const T* data, int64_t dim) {
  return RowsMoveInVectors<T>(dim) && reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

}  // namespace wyvern::linear_attention
