// The passes of the chunkwise gated delta rule on any GPU, and their arguments. Internal to this
// folder.
//
// Within a chunk of up to 64 rows, with G the running sum of log decays over its rows (clamped to
// -20 per step), G_C its last row, S the state entering and s the scale:
//
//   M_ij = sum_d k_id k_jd exp(G_id - G_jd), i > j     P_ij = s sum_d q_id k_jd exp(..), i >= j
//   A = (I + Diag(beta) M)^-1                          r = v - (e^G k) S
//   e = A (beta r)                                     o = s (e^G q) S + P e
//   kbar_j = e^{G_C - G_j} k_j                         S+ = Diag(e^{G_C}) S + kbar^T e
//
// and backward, with dS+ the gradient of the state that leaves the chunk:
//
//   de = P^T dO + kbar dS+      y = A^T de      dv = beta y
//   dS = Diag(e^{G_C}) dS+ + s (e^G q)^T dO - (e^G k)^T dv
//   dP = tril(dO e^T)           dM = -tril(y e^T, -1)
//
// (arXiv 2406.06484 section 3, 2412.06464, 2510.26692). q and k above have unit length: n = r x.
// Tensor cores are fed with the caller's exact x, and the factors r_i, e^{G_i} and e^{G_C - G_j} of
// a row are applied in fp32 on the other side; only a decay per channel has to be multiplied into
// operands of its own. The passes (../README.md), each one function:
//   ChunkInputs        r of q and k; beta; G; operands e^G q, e^G k, kbar per channel  (per token)
//   WyRepresentation   A - I, P, M                                            (per chunk and head)
//   StateScan          S entering each chunk, e                               (serial over chunks)
//   Output             o                                                      (per chunk and head)
//   StateScanBackward  dS+ of each chunk, y, dv                               (serial, in reverse)
//   ChunkGrad          dq, dk, dbeta, dg of each value head                   (per chunk and head)
//   InputGrad          sums over value heads; backward of norm, beta and gate          (per token)
//   Recurrence         the whole forward, one token after another
#pragma once

#include <algorithm>

#include "kernels/delta_rule/cuda/chunks.cuh"

namespace wyvern::delta {

// Key and value dims are padded with zeros to multiples of 64 in every buffer that is not the
// caller's: Kp = 64 key_blocks, Vp = 64 value_blocks. A decay per head has no chunk_decay.
template <typename T>
struct Args : ChunkArgs<T> {
  int key_blocks = 0, value_blocks = 0;        // key_blocks is 1, 2 or 4
  const T *q = nullptr, *k = nullptr;          // [T, H, Kp] the caller's x, or a padded copy
  float *q_norm = nullptr, *k_norm = nullptr;  // [T, H] r, 1 without norm
  float* beta = nullptr;                       // [T, HV]
  float* g_sum = nullptr;                      // [T, HV] or [T, HV, Kp]: G; null without decay
  // The operands that multiply states: q_operand, k_operand and k_bar of operand_heads = HV heads.
  // Without a decay per channel they are q, k and k themselves, of H heads, and RowScales has the
  // rest.
  const T *state_q = nullptr, *state_k = nullptr, *state_k_bar = nullptr;
  int operand_heads = 0;
  T *ut_less_one = nullptr, *m = nullptr;  // [NC, HV, 64, 64] A - I, M
  // The rests of e and y that rounding to bf16 loses, [T, HV, Vp]; null in fp32, and e's without
  // gradient.
  T *e_rest = nullptr, *y_rest = nullptr;

  T* y = nullptr;                      // [T, HV, Vp]
  float *dq = nullptr, *dk = nullptr;  // [T, HV, Kp] r times the gradient of r x
  float* d_beta = nullptr;             // [T, HV] of beta itself
  float* dg = nullptr;                 // like g_sum, of each step's log decay

  __host__ __device__ int key_pad() const { return key_blocks * kTile; }
  __host__ __device__ int value_pad() const { return value_blocks * kTile; }
};

// exp on operands: accurate for fp32, fast for what is then rounded to bf16.
template <typename T>
__device__ __forceinline__ float Exp(float x) {
  if constexpr (kIsBf16<T>) {
    return __expf(x);
  } else {
    return expf(x);
  }
}

// The fp32 factors that a row's operands still lack.
struct RowScales {
  float q, k, k_bar;  // r e^{G_i}, r e^{G_i}, r e^{G_C - G_i}; per channel 1, r, r
};
template <typename T>
__device__ __forceinline__ RowScales RowScalesOf(const Args<T>& a, const Chunk& chunk, int hv,
                                                 int row) {
  if (row >= chunk.rows) return {1.f, 1.f, 1.f};
  const int64_t t = chunk.first + row, at = t * a.heads + hv / a.group;
  if (a.decay == DeltaDecay::kPerChannel) return {1.f, a.k_norm[at], a.k_norm[at]};
  RowScales scales = {a.q_norm[at], a.k_norm[at], a.k_norm[at]};
  if (a.decay == DeltaDecay::kPerHead) {
    const float g = a.g_sum[t * a.value_heads + hv];
    const float last =
        a.g_sum[static_cast<int64_t>(chunk.first + chunk.rows - 1) * a.value_heads + hv];
    const float decay = Exp<T>(g);
    scales.q *= decay;
    scales.k *= decay;
    scales.k_bar *= Exp<T>(last - g);
  }
  return scales;
}

// e^{G_C} of a key channel.
template <typename T>
__device__ __forceinline__ float ChunkDecayOf(const Args<T>& a, const Chunk& chunk, int64_t c,
                                              int hv, int channel) {
  if (a.decay == DeltaDecay::kNone) return 1.f;
  if (a.decay == DeltaDecay::kPerChannel) {
    return a.chunk_decay[(c * a.value_heads + hv) * a.key_pad() + channel];
  }
  return expf(a.g_sum[static_cast<int64_t>(chunk.first + chunk.rows - 1) * a.value_heads + hv]);
}

// Rows [0, rows) of `to` = the part of a tile that rounding to bf16 loses.
template <typename T>
__device__ __forceinline__ void StoreRest(T* to, TileAcc& acc, int64_t ld, int rows) {
  ForEachPair(acc, [&](int row, int column, float x, float y) {
    if (row >= rows) return;
    const float x_rest = x - ToFloatDevice(FromFloatDevice<T>(x));
    const float y_rest = y - ToFloatDevice(FromFloatDevice<T>(y));
    *reinterpret_cast<Vec<T, 2>*>(to + row * ld + column) = {FromFloatDevice<T>(x_rest),
                                                             FromFloatDevice<T>(y_rest)};
  });
}

// One pass each; all asynchronous on `stream`.
template <typename T>
void ChunkInputs(const Args<T>& args, const GatedDeltaRuleInputs<T>& in, cudaStream_t stream);
template <typename T>
void WyRepresentation(const Args<T>& args, cudaStream_t stream);
template <typename T>
void StateScan(const Args<T>& args, const T* v, const float* h0, float* ht, cudaStream_t stream);
template <typename T>
void Output(const Args<T>& args, T* o, cudaStream_t stream);
template <typename T>
void StateScanBackward(const Args<T>& args, const T* d_o, const float* d_ht, T* dv, float* d_h0,
                       cudaStream_t stream);
template <typename T>
void ChunkGrad(const Args<T>& args, const T* d_o, cudaStream_t stream);
template <typename T>
void InputGrad(const Args<T>& args, const GatedDeltaRuleBwdParams<T>& p, cudaStream_t stream);
// The whole forward, one token after another.
template <typename T>
void Recurrence(const GatedDeltaRuleFwdParams<T>& p, cudaStream_t stream);

// Whether rows of the caller's [.., dim] tensor can be moved in 16-byte pieces.
template <typename T>
bool MovesInVectors(const T* data, int64_t dim) {
  return RowsMoveInVectors<T>(dim) && reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

}  // namespace wyvern::delta
