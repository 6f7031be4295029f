// Log decays per channel of a chunk, as every warp of a warpgroup holds them: for its 16 rows, the
// running sums L in base 2 within those rows, in the layout of a left operand (Fragment).
//
// G = base + L, base the sum over the warp's preceding rows. All that a product within the chunk
// needs follows from L, with exponents bounded by 80 / ln 2 since a step is clamped to -20:
//   E = 2^L and B = 2^(L_15 - L)         between blocks of 16 rows: row i of block I, column j of
//                                        block J < I: E_i 2^(sum of the blocks between) B_j
//   D = 2^(a - L), R = 2^(L - a)         within a block: columns in two halves of 8, each around
//                                        the L of its fifth row, a; R also for later rows
#pragma once

#include "kernels/common/sm90/wgmma.cuh"
#include "kernels/delta_rule/cuda/gates.cuh"
#include "kernels/delta_rule/sm90/passes.cuh"

namespace wyvern::sm90 {

constexpr float kLog2E = 1.4426950408889634f;

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}
// Numbers that all gates of a value head share.
struct GateRate {
  float rate;         // exp(a_log)
  float lower_bound;  // in base 2
};
__device__ __forceinline__ GateRate GateRateOf(const GatedDeltaRuleInputs<Bf16>& in, int hv) {
  return {in.a_log == nullptr ? 1.f : expf(in.a_log[hv]),
          static_cast<float>(in.lower_bound) * kLog2E};
}

// log2(1 + e^x) for z = x log2(e), to 1.3e-6 of it for any x: max(z, 0) + log2(1 + 2^-|z|), the
// latter by a polynomial, so that there is neither a branch nor a loss of small values.
__device__ __forceinline__ float Softplus2(float z) {
  const float y = Exp2(-fabsf(z));
  float p = 0.0204011815f;
  p = fmaf(p, y, -0.0957975373f);
  p = fmaf(p, y, 0.215284532f);
  p = fmaf(p, y, -0.339089022f);
  p = fmaf(p, y, 0.477668377f);
  p = fmaf(p, y, -0.721159474f);
  p = fmaf(p, y, 1.44269321f);
  return fmaf(p, y, fmaxf(z, 0.f));
}

// The log decay of one step in base 2, not clamped; x is the gate plus its bias. A rate of 0 gives
// 0.
template <DeltaGate kForm>
__device__ __forceinline__ float LogDecay2(float x, const GateRate& gate) {
  if constexpr (kForm == DeltaGate::kLogDecay) return x * kLog2E;
  if constexpr (kForm == DeltaGate::kSoftplus) return -gate.rate * Softplus2(x * kLog2E);
  return __fdividef(gate.lower_bound, 1.f + Exp2(-gate.rate * x * kLog2E));
}

// Where this lane's row of the four 8 x 8 matrices of a tile's first 16 x 16 block lies, in the
// order of Fragment: top left, bottom left, top right, bottom right.
__device__ __forceinline__ int LaneElement(int lane) {
  const int i = lane % 8, matrix = lane / 8;
  return (8 * (matrix % 2) + i) * kTile + ((matrix / 2 ^ i) << 3);
}
// The same of block (row, column) of 16 x 16.
__device__ __forceinline__ Bf16* BlockAt(const Bf16* tile, int lane_element, int row, int column) {
  return const_cast<Bf16*>(tile) + row * 16 * kTile + (lane_element ^ (column << 4));
}

struct GateGradient {
  float d_x;      // of the gate and of dt_bias
  float d_a_log;  // this element's part
};
template <DeltaGate kForm>
__device__ __forceinline__ GateGradient LogDecayBackward(float dg, float x, const GateRate& gate) {
  if constexpr (kForm == DeltaGate::kLogDecay) return {dg, 0.f};
  if constexpr (kForm == DeltaGate::kSoftplus) {
    const float z = x * kLog2E, y = Exp2(-fabsf(z)), outer = -dg * gate.rate;
    const float sigmoid = __fdividef(x >= 0.f ? 1.f : y, 1.f + y);
    return {outer * sigmoid, outer * (Softplus2(z) * (1.f / kLog2E))};
  }
  const float z = gate.rate * x, y = z * kLog2E;
  const float slope = __fdividef(1.f, 1.f + Exp2(-y)) * __fdividef(1.f, 1.f + Exp2(y));
  const float outer = dg * (gate.lower_bound * (1.f / kLog2E)) * slope;
  return {outer * gate.rate, outer * z};
}

// The lower triangle of ones, 16 x 16, as a left operand; its diagonal zero if kStrict.
template <bool kStrict>
__device__ __forceinline__ void MakeTriangle(uint32_t (&ones)[4], int lane) {
  const int row = lane / 4, column = 2 * (lane % 4) + kStrict;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = row + 8 * (i % 2), c = column + 8 * (i / 2);
    ones[i] = (c <= r ? 0x3f80u : 0u) | (c + 1 <= r ? 0x3f800000u : 0u);
  }
}

// sums = L of 16 rows and channels: parts of 8 channels, as accumulators. `block`: this lane's row
// of the raw gates (BlockAt), `bias` of those channels. Rows from `rows` on take no step. Steps are
// split into two bf16 terms, so the sums are good to 2^-17.
template <DeltaGate kForm>
__device__ __forceinline__ void RunningSums(float (&sums)[2][4], const Bf16* block,
                                            const float* bias, const GateRate& gate, int rows,
                                            const uint32_t (&ones)[4], int lane) {
  const int row = 2 * (lane % 4);
  uint32_t raw[4], high[4], low[4];
  // Transposed: of each register the rows are row + 8 (m % 2) and the next, the channel that of
  // lane / 4.
  LoadMatrices<true>(raw, block);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    const float channel_bias = kForm == DeltaGate::kLogDecay ? 0.f : bias[8 * (m / 2) + lane / 4];
    float step[2] = {UnpackLow(raw[m]), UnpackHigh(raw[m])};
    uint32_t valid = 0;  // a mask instead of a condition around what is long to compute
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      step[e] = fmaxf(LogDecay2<kForm>(step[e] + channel_bias, gate), kMinLogDecay * kLog2E);
      if (row + 8 * (m % 2) + e < rows) valid |= 0xffffu << (16 * e);
    }
    high[m] = Pack(step[0], step[1]) & valid;
    low[m] = Pack(step[0] - UnpackLow(high[m]), step[1] - UnpackHigh(high[m])) & valid;
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[n][e] = 0.f;
    MmaBf16(sums[n], ones, low[2 * n], low[2 * n + 1]);
    MmaBf16(sums[n], ones, high[2 * n], high[2 * n + 1]);
  }
}

// L of the two anchors' rows and of the last row, for the pair of channels that a thread holds in a
// part of 8.
struct Anchors {
  float first[2], second[2], last[2];
};
__device__ __forceinline__ Anchors AnchorsOf(const float (&sums)[4], int lane) {
  lane %= 4;
  Anchors a;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    a.first[e] = __shfl_sync(0xffffffffu, sums[e], 16 + lane);
    a.second[e] = __shfl_sync(0xffffffffu, sums[2 + e], 16 + lane);
    a.last[e] = __shfl_sync(0xffffffffu, sums[2 + e], 28 + lane);
  }
  return a;
}

}  // namespace wyvern::sm90
