// The gradients of a chunk and value head's gates, from the sums that chunk_grad_heads.cu leaves.
//
//   dg_t = sum_{i >= t} u_i + sum_{j < t} z_j + e^{G_C} sum S dS+ + sum_{i >= t > j} w_ij
//
// w, over pairs of rows, is summed apart in three quadrants of 32 x 32: where i >= 32 > j, a t of
// the later rows sees rows i from t on, one of the earlier rows the columns before it. The other
// two, on the diagonal, are `pairs`. Nothing is added that would have to be subtracted again: dg is
// small beside its parts and meets large factors.
#pragma once

#include "kernels/delta_rule/sm90/passes.cuh"

namespace wyvern::sm90 {

constexpr int kHalfChunk = kChunk / 2;

// A block's turn: a chunk and value head.
struct alignas(16) GradTurn {
  Chunk chunk;
  int chunk_index, hv;
};

struct HeadGradOutputs {
  Bf16 *dq, *dk, *d_beta, *d_gate;
  float2* gate_partials;  // [NC, HV] of d_dt_bias and d_a_log; null when not wanted
  float4* key_sums;       // [blocks, 8, threads] dq and dk over a group's value heads so far
};

template <int kGroups>
struct GateSums {
  float u[kGroups][kChunk], z[kGroups][kChunk];  // by warpgroup: of its channels
  // Sums over P' and M', by warp of the two that share them.
  float late_rows[2][kHalfChunk];         // w_ij of row 32 + [.], over j < 32
  float early_columns[2][2][kHalfChunk];  // of column [.], over i >= 32
  float pairs[2][2][kChunk];              // [t], within t's quadrant
  float states[4 * kGroups];              // of S dS+, by warp
  float slopes[2][kChunk];                // kGateSlope and kRateSlope
  float decay;                            // e^{G_C}
};

// Inclusive sums over lanes, from the first or to the last.
__device__ __forceinline__ float SumUpTo(float x) {
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const float other = __shfl_up_sync(0xffffffffu, x, offset);
    if (static_cast<int>(threadIdx.x) % kWarpSize >= offset) x += other;
  }
  return x;
}
__device__ __forceinline__ float SumFrom(float x) {
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const float other = __shfl_down_sync(0xffffffffu, x, offset);
    if (static_cast<int>(threadIdx.x) % kWarpSize + offset < kWarpSize) x += other;
  }
  return x;
}
// The sum over earlier lanes.
__device__ __forceinline__ float SumBefore(float x) {
  const float sum = __shfl_up_sync(0xffffffffu, SumUpTo(x), 1);
  return threadIdx.x % kWarpSize == 0 ? 0.f : sum;
}

// d_gate of the chunk's rows and their part of d_dt_bias and d_a_log. By one warp; lane l has rows
// l and 32 + l.
template <int kGroups>
__device__ __forceinline__ void WriteGateGradients(const Args& a, const HeadGradOutputs& out,
                                                   const GradTurn& turn,
                                                   const GateSums<kGroups>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int64_t chunk_head = static_cast<int64_t>(turn.chunk_index) * a.value_heads + turn.hv;
  const int64_t first = static_cast<int64_t>(turn.chunk.first) * a.value_heads + turn.hv;
  float u[2] = {0.f, 0.f}, z[2] = {0.f, 0.f};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane + kHalfChunk * half;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      u[half] += sums.u[g][row];
      z[half] += sums.z[g][row];
    }
  }
  float late_rows = 0.f, early_columns = 0.f, pairs[2] = {0.f, 0.f};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    late_rows += sums.late_rows[i][lane];
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      early_columns += sums.early_columns[i][w][lane];
      pairs[0] += sums.pairs[i][w][lane];
      pairs[1] += sums.pairs[i][w][kHalfChunk + lane];
    }
  }
  const float state = sums.decay * WarpSum(lane < 4 * kGroups ? sums.states[lane] : 0.f);
  const float dg[2] = {
      SumFrom(u[0]) + WarpSum(u[1]) + SumBefore(z[0] + early_columns) + pairs[0] + state,
      SumFrom(u[1] + late_rows) + WarpSum(z[0]) + SumBefore(z[1]) + pairs[1] + state};
  float bias_sum = 0.f, a_log_sum = 0.f;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane + kHalfChunk * half;
    if (row >= turn.chunk.rows) continue;
    const float d_x = dg[half] * sums.slopes[0][row];
    bias_sum += d_x;
    a_log_sum = fmaf(dg[half], sums.slopes[1][row], a_log_sum);
    if (out.d_gate != nullptr) {
      out.d_gate[first + static_cast<int64_t>(row) * a.value_heads] = FromFloatDevice<Bf16>(d_x);
    }
  }
  if (out.gate_partials == nullptr) return;
  bias_sum = WarpSum(bias_sum);
  a_log_sum = WarpSum(a_log_sum);
  if (lane == 0) out.gate_partials[chunk_head] = make_float2(bias_sum, a_log_sum);
}

}  // namespace wyvern::sm90
