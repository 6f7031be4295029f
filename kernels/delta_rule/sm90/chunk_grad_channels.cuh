// ChunkGradChannels: shared memory, copies in and out, and what surrounds the products within a
// chunk. Internal to chunk_grad_channels.cu, which says how it works.
#pragma once

#include "kernels/common/sm90/async.cuh"
#include "kernels/common/sm90/wgmma_narrow.cuh"
#include "kernels/delta_rule/sm90/channel_decay.cuh"

namespace wyvern::sm90 {

// Named barriers of the kernel's block.
enum ChannelGradBarrier {
  kChannelGradGroup = 1,  // the first warpgroup; the others have the next numbers
};

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

// One turn of a block: a chunk and value head. Those of a group of value heads follow one another.
struct alignas(16) GradPlace {
  Chunk chunk;          // where there is one
  int chunk_index, hv;  // chunk_index >= num_chunks: there are no more
};
constexpr int kPlaces = 8;

template <int kKeyBlocks>
struct GradShared {
  using C = GradConfig<kKeyBlocks>;
  GradStage<kKeyBlocks> stages[C::kStages];
  Bf16 q[kKeyBlocks][kTileElements], k[kKeyBlocks][kTileElements];
  Bf16 gate[kKeyBlocks][kTileElements];    // as loaded, then k B
  Bf16 q_rows[kKeyBlocks][kTileElements];  // q E, then d_gate and dq on their way out
  Bf16 k_rows[kKeyBlocks][kTileElements];  // k E, then dk
  Bf16 dp[kTileElements], dm[kTileElements];
  float rows[kKeyNorm + 1][kChunk];
  // Sums and factors of each warp's rows, per channel.
  float total[4][C::kKeyDim];      // L of the last row
  float base[4][C::kKeyDim];       // e^(sum of what precedes them), then their part of dg's rows
  float rest[4][C::kKeyDim];       // e^(sum of what follows them), then the sum of kbar Z
  float next[4][C::kKeyDim];       // e^total, then what other rows add to dg
  float state_dot[4][C::kKeyDim];  // parts of sum_v S dS+
  float bias_sum[4][C::kKeyDim];
  float bias[C::kKeyDim];
  float dots[C::kGroups][2][kChunk];  // of the rows: q dq, k dk
  float diagonal[kChunk];             // of dv e^T
  float a_log_sum[C::kWarps];
  float rate;  // exp(a_log)
  int lanes[kWarpSize];
  GradPlace places[kPlaces];  // of the n-th turn at n % kPlaces; fetched by the first thread, which
  int ahead, value_block;     // alone knows of which turn and value columns the next stage is
  Barrier loaded[C::kStages], freed[C::kStages], keys_loaded, keys_freed;
};
static_assert(sizeof(GradShared<2>) <= 232448 && 2 * sizeof(GradShared<1>) <= 232448 - 1024);

struct GradOutputs {
  Bf16 *dq, *dk, *d_beta, *d_gate;
  float *dq_sum, *dk_sum;                 // [T, H, K] over a group's value heads so far
  float *bias_partials, *a_log_partials;  // [NC, HV, K], [NC, HV]; null when not wanted
};

struct GradMaps {
  TensorMap q, k, gate, states, d_states, e, dv, d_o;
};

// Where a thread stands, found out anew in each step of a turn: what follows from it, addresses
// above all, then takes no registers in between.
struct Who {
  int lane, warp, group;  // warp: within the group

  __device__ int key_block() const { return group / 2; }
  __device__ int half() const { return group % 2; }  // of the key block
  __device__ int row() const { return 16 * warp + lane / 4; }
  __device__ int channel() const { return 32 * group; }
};
template <int kKeyBlocks>
__device__ __forceinline__ Who WhoAmI(const GradShared<kKeyBlocks>& s) {
  const int lane = const_cast<const volatile int&>(s.lanes[threadIdx.x % kWarpSize]);
  const int warp = (lane + static_cast<int>(threadIdx.x) / kWarpSize * kWarpSize) / kWarpSize;
  return {lane, warp % 4, warp / 4};
}

// ---- Copies in ----

// Starts to find out what the n-th turn is. By the first thread.
template <int kKeyBlocks>
__device__ __forceinline__ void FetchPlace(GradShared<kKeyBlocks>& s, const Args& a, int n) {
  const int item = static_cast<int>(blockIdx.x) + n / a.group * static_cast<int>(gridDim.x);
  GradPlace& place = s.places[n % kPlaces];
  place.chunk_index = item / a.heads;
  place.hv = item % a.heads * a.group + n % a.group;
  if (place.chunk_index < a.num_chunks) {
    CopyAsync16(&place.chunk, a.chunks + place.chunk_index, true);
  }
  CommitCopies();
}
// Moves on to the next turn when this one's stages are all under way.
template <int kKeyBlocks>
__device__ __forceinline__ void LookAhead(GradShared<kKeyBlocks>& s, const Args& a) {
  if (64 * s.value_block < a.value_dim) return;
  s.value_block = 0;
  ++s.ahead;
  FetchPlace(s, a, s.ahead + 1);
  WaitCopies<1>();
}

// Starts to fill a stage that is free.
template <int kKeyBlocks>
__device__ __forceinline__ void LoadStage(GradShared<kKeyBlocks>& s, int i, const Args& a,
                                          const GradMaps& maps) {
  const GradPlace& place = s.places[s.ahead % kPlaces];
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

template <int kKeyBlocks>
__device__ __forceinline__ void LoadKeys(GradShared<kKeyBlocks>& s, const Args& a,
                                         const GradMaps& maps, const GradPlace& place) {
  ArriveExpecting(s.keys_loaded, 3 * kKeyBlocks * kTileBytes + sizeof(s.rows));
  const int64_t chunk_head = static_cast<int64_t>(place.chunk_index) * a.value_heads + place.hv;
  CopyBytes(s.rows, a.rows + chunk_head * (kNumRowFactors * kChunk), sizeof(s.rows), s.keys_loaded);
#pragma unroll
  for (int kb = 0; kb < kKeyBlocks; ++kb) {
    CopyTokens(s.gate[kb], maps.gate, 64 * kb, place.hv, place.chunk.first, s.keys_loaded);
    CopyTokens(s.k[kb], maps.k, 64 * kb, place.hv / a.group, place.chunk.first, s.keys_loaded);
    CopyTokens(s.q[kb], maps.q, 64 * kb, place.hv / a.group, place.chunk.first, s.keys_loaded);
  }
}

// ---- Around the products with states ----

// One thread's part of sum_v S dS+ over 64 value columns, for the channels 32 half + 2 (lane % 16)
// and the next.
__device__ __forceinline__ void AddStateDot(float (&dot)[2], const Bf16* state, const Bf16* d_state,
                                            const Who& who) {
  const int pair = who.lane % 16, row = 16 * who.warp + 4 * (who.lane / 16);
  const int element = row * kTile + ((4 * who.half() + pair / 4 ^ row % 8) << 3) + 2 * (pair % 4);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    // Row row + i % 4 + 8 (i / 4), whose swizzle differs from row's by i % 4.
    const int at = (element ^ (i % 4 << 3)) + (i % 4 + 8 * (i / 4)) * kTile;
    const uint32_t x = *reinterpret_cast<const uint32_t*>(state + at);
    const uint32_t y = *reinterpret_cast<const uint32_t*>(d_state + at);
    dot[0] = fmaf(UnpackLow(x), UnpackLow(y), dot[0]);
    dot[1] = fmaf(UnpackHigh(x), UnpackHigh(y), dot[1]);
  }
}

// dP' or dM' (quarters 0, 1 or 2, 3; the first or last 32 columns) from dO e^T or dv e^T, by
// selection; and the latter's diagonal.
template <int kKeyBlocks>
__device__ __forceinline__ void StorePairs(GradShared<kKeyBlocks>& s, const NarrowAccumulator& x,
                                           int quarter, int rows, float scale, const Who& who) {
  const bool is_p = quarter < 2;
#pragma unroll
  for (int b = 0; b < 2; ++b) {
    const int block = 2 * (quarter % 2) + b;
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = who.row() + 8 * (i % 2);
      float pair[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 16 * block + 8 * (i / 2) + 2 * (who.lane % 4) + e;
        const float value = x.c[2 * b + i / 2][2 * (i % 2) + e];
        const int last = row < rows ? row - (is_p ? 0 : 1) : -1;
        pair[e] = column <= last ? value * (is_p ? scale : -1.f) : 0.f;
        if (!is_p && row == column) s.diagonal[row] = value;
      }
      packed[i] = Pack(pair[0], pair[1]);
    }
    StoreMatrices<false>(BlockAt(is_p ? s.dp : s.dm, LaneElement(who.lane), who.warp, block),
                         packed);
  }
}

// d of what `beta` holds, from (dv e)_i = beta^2 dbeta; b is what it holds.
__device__ __forceinline__ float BetaGradient(DeltaBeta form, float dv_e, float beta, float b) {
  const float scaled = dv_e / beta;  // beta dbeta
  if (form == DeltaBeta::kGiven) return scaled / beta;
  return scaled * delta::Sigmoid(-b);  // dbeta / db = beta sigmoid(-b) for either logit
}

// ---- Copies out ----

// The warp's 16 rows and 32 channels, rounded, into a tile.
__device__ __forceinline__ void StoreRounded(Bf16* tile, const NarrowAccumulator& x,
                                             const Who& who) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = x.c[2 * step + i / 2] + 2 * (i % 2);
      packed[i] = Pack(pair[0], pair[1]);
    }
    StoreMatrices<false>(BlockAt(tile, LaneElement(who.lane), who.warp, 2 * who.half() + step),
                         packed);
  }
}

// And from there to [tokens, ld] at `to`.
__device__ __forceinline__ void StoreOut(Bf16* to, int64_t ld, const Bf16* tile, int rows,
                                         const Who& who) {
  __syncwarp();
  const int piece = 4 * who.half() + who.lane % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = who.row() + 8 * i;
    if (row < rows) {
      *reinterpret_cast<uint4*>(to + row * ld + 8 * piece) =
          *reinterpret_cast<const uint4*>(TileRow(const_cast<Bf16*>(tile), row, piece));
    }
  }
  __syncwarp();
}

// x += sum unless `first`, sum = x unless `last`: [tokens, ld] from the thread's first row and pair
// of channels on.
__device__ __forceinline__ void AddGroup(NarrowAccumulator& x, float* sum, int64_t ld, bool first,
                                         bool last, int rows, int row) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (row + 8 * h >= rows) continue;
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      float2* const at = reinterpret_cast<float2*>(sum + 8 * h * ld + 8 * part);
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

}  // namespace wyvern::sm90
