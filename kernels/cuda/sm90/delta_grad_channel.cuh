// GradChannels: shared memory, copies in and out, and what surrounds the products within a chunk.
// Internal to delta_grad_channel*.cu, which say how it works.
#pragma once

#include "kernels/cuda/sm90/async.cuh"
#include "kernels/cuda/sm90/channel_grad.cuh"
#include "kernels/cuda/sm90/wgmma_narrow.cuh"

namespace wyvern::sm90 {

template <int kKeyBlocks>
struct GradConfig {
  static constexpr int kKeyDim = 64 * kKeyBlocks;
  static constexpr int kGroups = 2 * kKeyBlocks;  // warpgroups
  static constexpr int kThreads = kGroups * kWarpgroupThreads;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kStages = kKeyBlocks;
  static constexpr int kBlocksPerSm = 2 / kKeyBlocks;
};

template <int kKeyBlocks>
struct GradStage {  // 64 value columns
  Bf16 state[kKeyBlocks][kTileElements], d_state[kKeyBlocks][kTileElements];
  Bf16 e[kTileElements], dv[kTileElements], d_o[kTileElements];
};

// The n-th chunk and value head of this block; those of a group of value heads follow one another.
struct GradPlace {
  int n;
  int chunk_index, hv;  // chunk_index >= num_chunks: there are no more
  Chunk chunk;
};
__device__ __forceinline__ GradPlace PlaceOf(const Args& a, int n) {
  const int item = static_cast<int>(blockIdx.x) + n / a.group * static_cast<int>(gridDim.x);
  GradPlace place = {n, item / a.heads, item % a.heads * a.group + n % a.group, {}};
  if (place.chunk_index < a.num_chunks) place.chunk = a.chunks[place.chunk_index];
  return place;
}

template <int kKeyBlocks>
struct GradShared {
  using C = GradConfig<kKeyBlocks>;
  GradStage<kKeyBlocks> stages[C::kStages];
  Bf16 q[kKeyBlocks][kTileElements], k[kKeyBlocks][kTileElements];
  Bf16 gate[kKeyBlocks][kTileElements];    // as loaded, then k B
  Bf16 q_rows[kKeyBlocks][kTileElements];  // q E, then d_gate and dq on their way out
  Bf16 k_rows[kKeyBlocks][kTileElements];  // k E, then dk
  Bf16 dp[kTileElements], dm[kTileElements];
  // Of each warp's rows, per channel.
  float total[4][C::kKeyDim];      // L of the last row
  float base[4][C::kKeyDim];       // e^(sum of what precedes them), then their part of dg's rows
  float rest[4][C::kKeyDim];       // e^(sum of what follows them), then the sum of kbar Z
  float next[4][C::kKeyDim];       // e^total, then what other rows add to dg
  float state_dot[4][C::kKeyDim];  // parts of sum_v S dS+
  float bias_sum[4][C::kKeyDim];
  float bias[C::kKeyDim];
  float norms[2][kChunk];             // r of q and k
  float dots[C::kGroups][2][kChunk];  // of the rows: q dq, k dk
  float diagonal[kChunk];             // of dv e^T
  float a_log_sum[C::kWarps];
  GradPlace places[2];  // of every other turn
  GradPlace ahead;      // of the next stage to load, and its value_block; by the first thread alone
  int value_block;
  Barrier loaded[C::kStages], freed[C::kStages], keys_loaded, keys_freed;
};

struct GradOutputs {
  Bf16 *dq, *dk, *d_beta, *d_gate;
  float *dq_sum, *dk_sum;                 // [T, H, K] over a group's value heads so far
  float *bias_partials, *a_log_partials;  // [NC, HV, K], [NC, HV]; null when not wanted
};

struct GradMaps {
  TensorMap q, k, gate, states, d_states, e, dv, d_o;
};

// Starts to fill a stage that is free.
template <int kKeyBlocks>
__device__ __forceinline__ void LoadStage(GradShared<kKeyBlocks>& s, int i, const Args& a,
                                          const GradMaps& maps) {
  const GradPlace& place = s.ahead;
  if (place.chunk_index >= a.num_chunks) return;
  GradStage<kKeyBlocks>& stage = s.stages[i];
  Barrier& loaded = s.loaded[i];
  const int column = 64 * s.value_block++;
  const int row = (place.chunk_index * a.value_heads + place.hv) * a.value_dim + column;
  ArriveExpecting(loaded, (2 * kKeyBlocks + 3) * kTileBytes);
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    CopyMatrix(stage.state[kb], maps.states, 64 * kb, row, loaded);
    CopyMatrix(stage.d_state[kb], maps.d_states, 64 * kb, row, loaded);
  }
  CopyTokens(stage.d_o, maps.d_o, column, place.hv, place.chunk.first, loaded);
  CopyTokens(stage.dv, maps.dv, column, place.hv, place.chunk.first, loaded);
  CopyTokens(stage.e, maps.e, column, place.hv, place.chunk.first, loaded);
}
// Moves on to the next chunk and value head when this one's stages are all under way.
template <int kKeyBlocks>
__device__ __forceinline__ void LookAhead(GradShared<kKeyBlocks>& s, const Args& a) {
  if (64 * s.value_block < a.value_dim) return;
  s.ahead = PlaceOf(a, s.ahead.n + 1);
  s.value_block = 0;
}

template <int kKeyBlocks>
__device__ __forceinline__ void LoadKeys(GradShared<kKeyBlocks>& s, const Args& a,
                                         const GradMaps& maps, const GradPlace& place) {
  ArriveExpecting(s.keys_loaded, 3 * kKeyBlocks * kTileBytes);
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    CopyTokens(s.gate[kb], maps.gate, 64 * kb, place.hv, place.chunk.first, s.keys_loaded);
    CopyTokens(s.k[kb], maps.k, 64 * kb, place.hv / a.group, place.chunk.first, s.keys_loaded);
    CopyTokens(s.q[kb], maps.q, 64 * kb, place.hv / a.group, place.chunk.first, s.keys_loaded);
  }
}

// The warp's 16 rows and 32 channels of `tile` (its half `half`) to [tokens, ld] at `to`.
__device__ __forceinline__ void StoreOut(Bf16* to, int64_t ld, const Bf16* tile, int half,
                                         int rows) {
  __syncwarp();
  const int piece = 4 * half + LaneId() % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 16 * WarpOfGroup() + 8 * i + LaneId() / 4;
    if (row < rows) {
      *reinterpret_cast<uint4*>(to + row * ld + 8 * piece) =
          *reinterpret_cast<const uint4*>(TileRow(const_cast<Bf16*>(tile), row, piece));
    }
  }
  __syncwarp();
}

// One thread's part of sum_v S dS+ over 64 value columns, for the channels 32 half + 2 (lane % 16)
// and the next.
__device__ __forceinline__ void AddStateDot(float (&dot)[2], const Bf16* state, const Bf16* d_state,
                                            int half) {
  const int lane = LaneId(), pair = lane % 16;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = 16 * WarpOfGroup() + 8 * (i / 4) + 4 * (lane / 16) + i % 4;
    const auto at = [&](const Bf16* tile) {
      return *reinterpret_cast<const uint32_t*>(
          TileRow(const_cast<Bf16*>(tile), row, 4 * half + pair / 4) + 2 * (pair % 4));
    };
    const uint32_t x = at(state), y = at(d_state);
    dot[0] = fmaf(UnpackLow(x), UnpackLow(y), dot[0]);
    dot[1] = fmaf(UnpackHigh(x), UnpackHigh(y), dot[1]);
  }
}

// d of what `beta` holds, from (dv e)_i = beta^2 dbeta; b is what it holds.
__device__ __forceinline__ float BetaGradient(DeltaBeta form, float dv_e, float beta, float b) {
  const float scaled = dv_e / beta;  // beta dbeta
  if (form == DeltaBeta::kGiven) return scaled / beta;
  return scaled * delta::Sigmoid(-b);  // dbeta / db = beta sigmoid(-b) for either logit
}

// dP' or dM' (quarters 0, 1 or 2, 3; the first or last 32 columns) from dO e^T or dv e^T, by
// selection; and the latter's diagonal.
template <int kKeyBlocks>
__device__ __forceinline__ void StorePairs(GradShared<kKeyBlocks>& s, const NarrowAccumulator& x,
                                           int quarter, int rows, float scale) {
  const bool is_p = quarter < 2;
#pragma unroll
  for (int b = 0; b < 2; ++b) {
    const int block = 2 * (quarter % 2) + b;
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 16 * WarpOfGroup() + LaneId() / 4 + 8 * (i % 2);
      float pair[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 16 * block + 8 * (i / 2) + 2 * (LaneId() % 4) + e;
        const float value = x.c[2 * b + i / 2][2 * (i % 2) + e];
        const int last = row < rows ? row - (is_p ? 0 : 1) : -1;
        pair[e] = column <= last ? value * (is_p ? scale : -1.f) : 0.f;
        if (!is_p && row == column) s.diagonal[row] = value;
      }
      packed[i] = Pack(pair[0], pair[1]);
    }
    StoreMatrices<false>(SquareRow(is_p ? s.dp : s.dm, WarpOfGroup(), block), packed);
  }
}

// x, r times the gradient of n = r raw, becomes that of raw: r dn - (r dn n) n. `dots`: x raw of
// the rows, by warpgroup.
template <int kGroups>
__device__ __forceinline__ void FinishKeys(NarrowAccumulator& x, Bf16* raw_tile, int half,
                                           const float (&dots)[kGroups][2][kChunk], int which,
                                           const float (&norm)[2], bool l2_norm) {
  float along[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float sum = 0.f;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      sum += dots[g][which][16 * WarpOfGroup() + LaneId() / 4 + 8 * h];
    }
    along[h] = l2_norm ? -sum * norm[h] * norm[h] : 0.f;
  }
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t raw[4];
    LoadMatrices<false>(raw, BlockRow<false>(raw_tile, 2 * half + step));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const pair = x.c[2 * step + i / 2] + 2 * (i % 2);
      pair[0] = fmaf(along[i % 2], UnpackLow(raw[i]), pair[0]);
      pair[1] = fmaf(along[i % 2], UnpackHigh(raw[i]), pair[1]);
    }
  }
}

// The warp's 16 rows and 32 channels, rounded, into a tile.
__device__ __forceinline__ void StoreRounded(Bf16* tile, const NarrowAccumulator& x, int half) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = x.c[2 * step + i / 2] + 2 * (i % 2);
      packed[i] = Pack(pair[0], pair[1]);
    }
    StoreMatrices<false>(BlockRow<false>(tile, 2 * half + step), packed);
  }
}

// x += sum unless `first`, sum = x unless `last`: [tokens, ld] from the warp's first row on.
__device__ __forceinline__ void AddGroup(NarrowAccumulator& x, float* sum, int64_t ld, bool first,
                                         bool last, const bool (&valid)[2]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (!valid[h]) continue;
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      float2* const at = reinterpret_cast<float2*>(sum + (LaneId() / 4 + 8 * h) * ld + 8 * part +
                                                   2 * (LaneId() % 4));
      float &x0 = x.c[part][2 * h], &x1 = x.c[part][2 * h + 1];
      if (!first) {
        const float2 before = *at;
        x0 += before.x;
        x1 += before.y;
      }
      if (!last) *at = make_float2(x0, x1);
    }
  }
}

// The kernel itself.
void LaunchGradChannels(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                        const GradOutputs& out, cudaStream_t stream);

}  // namespace wyvern::sm90
