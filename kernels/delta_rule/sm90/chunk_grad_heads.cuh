// Pieces of chunk_grad_heads.cu: its shared memory and the copies that fill it, then what a warp,
// with 16 rows and 32 channels or columns, makes of its products.
#pragma once

#include "kernels/common/sm90/async.cuh"
#include "kernels/common/sm90/wgmma_narrow.cuh"
#include "kernels/delta_rule/sm90/channel_decay.cuh"
#include "kernels/delta_rule/sm90/chunk_grad_heads_gates.cuh"
#include "kernels/delta_rule/sm90/ut_transform.cuh"

namespace wyvern::sm90 {

// ---- Shared memory and the copies that fill it ----

struct HeadGradMaps {
  TensorMap q, k, d_o, e, dv, states, d_states;
};

// A warpgroup that computes has 32 key channels, and 32 columns of P' or M' (64 of one of them if
// there are only two such warpgroups).
template <int kKeyBlocks>
struct HeadGradConfig {
  static constexpr int kGroups = 2 * kKeyBlocks;
  static constexpr int kQuarters = 4 / kGroups;  // of P' and M', per warpgroup
  static constexpr int kConsumers = kGroups * kWarpgroupThreads;
  static constexpr int kThreads = kConsumers + kWarpgroupThreads;
  static constexpr int kRegisters = kKeyBlocks == 2 ? 112 : 240;  // of a consumer
  static constexpr int kProducerRegisters = kKeyBlocks == 2 ? 32 : 24;
  static constexpr int kHeads = 2, kValues = kKeyBlocks == 2 ? 2 : 4;  // places in the rings
};

constexpr int kGradTurns = 4;  // of which the copies may be two ahead and the gates one behind

template <int kKeyBlocks>
struct HeadGradShared {
  using C = HeadGradConfig<kKeyBlocks>;
  struct Head {  // a chunk of one value head
    Bf16 q[kKeyBlocks][kTileElements], k[kKeyBlocks][kTileElements];
  } head[C::kHeads];
  struct Value {  // 64 of its value columns
    Bf16 d_o[kTileElements], e[kTileElements], dv[kTileElements];
    Bf16 states[kKeyBlocks][kTileElements], d_states[kKeyBlocks][kTileElements];
  } value[C::kValues];
  Bf16 pairs[2][kTileElements];  // P' and M'
  float rows[C::kHeads][kNumRowFactors][kChunk];
  GateSums<C::kGroups> sums[2];       // of this turn and the one before
  float dots[2][kChunk][C::kGroups];  // of rows: q dq, k dk
  GradTurn turns[kGradTurns];         // of turn n at n % kGradTurns; there with its head
  Barrier head_full[C::kHeads], head_empty[C::kHeads];
  Barrier value_full[C::kValues], value_empty[C::kValues];
};
static_assert(sizeof(HeadGradShared<1>) <= 232448 && sizeof(HeadGradShared<2>) <= 232448);

__device__ __forceinline__ int CountTurns(const Args& a) {
  const int items = a.num_chunks * a.heads, blocks = static_cast<int>(gridDim.x);
  return (items - static_cast<int>(blockIdx.x) + blocks - 1) / blocks * a.group;
}

// By one thread. Turns of a group of value heads follow one another.
template <int kKeyBlocks>
__device__ __forceinline__ void Produce(const Args& a, const HeadGradMaps& maps,
                                        HeadGradShared<kKeyBlocks>& s) {
  using C = HeadGradConfig<kKeyBlocks>;
  Ring heads{C::kHeads}, values{C::kValues};
  const int items = a.num_chunks * a.heads;
  int n = 0;
  Chunk next = a.chunks[static_cast<int>(blockIdx.x) / a.heads];
  for (int item = static_cast<int>(blockIdx.x); item < items; item += gridDim.x) {
    const Chunk chunk = next;
    const int c = item / a.heads, key_head = item % a.heads;
    const int following = item + static_cast<int>(gridDim.x);
    if (following < items) next = a.chunks[following / a.heads];
    for (int hv = key_head * a.group; hv < (key_head + 1) * a.group; ++hv, ++n) {
      auto& head = s.head[heads.place];
      Barrier& head_full = s.head_full[heads.place];
      Wait(s.head_empty[heads.place], heads.empty_parity());
      s.turns[n % kGradTurns] = {chunk, c, hv};
      ArriveExpecting(head_full, sizeof(head) + sizeof(s.rows[0]));
#pragma unroll
      for (int kb = 0; kb < kKeyBlocks; ++kb) {
        CopyTokens(head.q[kb], maps.q, kb * kTile, key_head, chunk.first, head_full);
        CopyTokens(head.k[kb], maps.k, kb * kTile, key_head, chunk.first, head_full);
      }
      const int chunk_head = c * a.value_heads + hv;
      CopyBytes(s.rows[heads.place],
                a.rows + static_cast<int64_t>(chunk_head) * kNumRowFactors * kChunk,
                sizeof(s.rows[0]), head_full);
      heads.Advance();
      for (int v = 0; v < a.value_dim; v += kTile) {
        auto& value = s.value[values.place];
        Barrier& value_full = s.value_full[values.place];
        Wait(s.value_empty[values.place], values.empty_parity());
        ArriveExpecting(value_full, sizeof(value));
        const int row = chunk_head * a.value_dim + v;
#pragma unroll
        for (int kb = 0; kb < kKeyBlocks; ++kb) {
          CopyMatrix(value.states[kb], maps.states, kb * kTile, row, value_full);
          CopyMatrix(value.d_states[kb], maps.d_states, kb * kTile, row, value_full);
        }
        CopyTokens(value.d_o, maps.d_o, v, hv, chunk.first, value_full);
        CopyTokens(value.e, maps.e, v, hv, chunk.first, value_full);
        CopyTokens(value.dv, maps.dv, v, hv, chunk.first, value_full);
        values.Advance();
      }
    }
  }
}

// ---- A warp's part of a tile ----

// A warp's 16 x 32 part of a tile, as pairs of elements: of rows lane / 4 + 8 (i % 2) and columns
// 16 step + 8 (i / 2) + 2 (lane % 4) and the next.
struct NarrowPairs {
  uint32_t w[2][4];
};
__device__ __forceinline__ NarrowPairs LoadPairs(const Bf16* tile, int half) {
  NarrowPairs x;
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    LoadMatrices<false>(x.w[step],
                        BlockAt(tile, LaneElement(LaneId()), WarpOfGroup(), 2 * half + step));
  }
  return x;
}
__device__ __forceinline__ void StorePairs(Bf16* tile, int half, const NarrowPairs& x) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    StoreMatrices<false>(BlockAt(tile, LaneElement(LaneId()), WarpOfGroup(), 2 * half + step),
                         x.w[step]);
  }
}

// P' or M', columns 32 half .. 32 half + 31, in place of dO e^T or dv e^T, and into their tile.
template <bool kDecay>
__device__ __forceinline__ void MakePairs(NarrowAccumulator& pairs, bool is_m, int half,
                                          const float (&rows_of)[kNumRowFactors][kChunk], int rows,
                                          float scale, Bf16* tile) {
  const int lane = LaneId(), warp = WarpOfGroup();
  float factor[2], gate[2];
  int end[2];  // of each row's columns
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = 16 * warp + lane / 4 + 8 * h;
    gate[h] = rows_of[kGate][row] * kLog2E;
    factor[h] = is_m ? -rows_of[kKeyNorm][row] : scale * rows_of[kQueryNorm][row];
    end[h] = row < rows ? row + (is_m ? 0 : 1) : 0;
  }
  NarrowPairs rounded = {};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int column = 32 * half + 8 * n + 2 * (lane % 4);
    const bool above = 2 * half + n / 2 > warp;  // the diagonal, all of it
    if (above) {
#pragma unroll
      for (int e = 0; e < 4; ++e) pairs.c[n][e] = 0.f;
      continue;
    }
    const float2 norm = *reinterpret_cast<const float2*>(rows_of[kKeyNorm] + column);
    float2 gate_j = make_float2(0.f, 0.f);
    if constexpr (kDecay) gate_j = *reinterpret_cast<const float2*>(rows_of[kGate] + column);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float &x0 = pairs.c[n][2 * h], &x1 = pairs.c[n][2 * h + 1];
      float f0 = factor[h] * norm.x, f1 = factor[h] * norm.y;
      if constexpr (kDecay) {
        f0 *= Exp2(fmaf(gate_j.x, -kLog2E, gate[h]));
        f1 *= Exp2(fmaf(gate_j.y, -kLog2E, gate[h]));
      }
      x0 = column < end[h] ? x0 * f0 : 0.f;
      x1 = column + 1 < end[h] ? x1 * f1 : 0.f;
      rounded.w[n / 2][2 * (n % 2) + h] = Pack(x0, x1);
    }
  }
  StorePairs(tile, half, rounded);
}

// Each of two threads that differ in `bit` takes kKept of twice as many sums.
template <int kKept, int kSize>
__device__ __forceinline__ void Fold(float (&sums)[kSize], int bit) {
  static_assert(2 * kKept <= kSize);
  const bool upper = (LaneId() & bit) != 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float mine = upper ? sums[kKept + i] : sums[i];
    const float other = upper ? sums[i] : sums[kKept + i];
    sums[i] = mine + __shfl_xor_sync(0xffffffffu, other, bit);
  }
}
// Each of the four threads that share a row gets one of four sums over them: that of index
// lane % 4.
__device__ __forceinline__ float FoldRows(float (&sums)[4]) {
  Fold<2>(sums, 2);
  Fold<1>(sums, 1);
  return sums[0];
}
// Each of the threads that share columns gets one of eight sums, likewise: that of index lane / 4.
__device__ __forceinline__ float FoldColumns(float (&sums)[8]) {
  Fold<4>(sums, 16);
  Fold<2>(sums, 8);
  Fold<1>(sums, 4);
  return sums[0];
}

// to += f x, by rows. kDots: the sums of the products with y of each row are added to dots.
template <bool kDots>
__device__ __forceinline__ void AddScaled(NarrowAccumulator& to, const NarrowAccumulator& x,
                                          const float (&f)[2], const NarrowPairs& y, float* dots) {
  float own[2] = {0.f, 0.f};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t pair = y.w[n / 2][2 * (n % 2) + h];
      const float x0 = x.c[n][2 * h], x1 = x.c[n][2 * h + 1];
      if constexpr (kDots) own[h] = fmaf(x0, UnpackLow(pair), own[h]);
      if constexpr (kDots) own[h] = fmaf(x1, UnpackHigh(pair), own[h]);
      to.c[n][2 * h] = fmaf(f[h], x0, to.c[n][2 * h]);
      to.c[n][2 * h + 1] = fmaf(f[h], x1, to.c[n][2 * h + 1]);
    }
  }
  if constexpr (kDots) {
#pragma unroll
    for (int h = 0; h < 2; ++h) dots[h] = fmaf(f[h], own[h], dots[h]);
  }
}

// dots[0 and 1] += the products of the thread's parts of its two rows.
__device__ __forceinline__ void AddRowDots(const NarrowAccumulator& x, const NarrowPairs& y,
                                           float* dots) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t pair = y.w[n / 2][2 * (n % 2) + h];
      dots[h] = fmaf(x.c[n][2 * h], UnpackLow(pair), dots[h]);
      dots[h] = fmaf(x.c[n][2 * h + 1], UnpackHigh(pair), dots[h]);
    }
  }
}

// x += sum unless `first`, sum = x unless `last`: this thread's part, 4 elements every `stride`.
__device__ __forceinline__ void AddGroup(NarrowAccumulator& x, float4* sum, int stride, bool first,
                                         bool last) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    if (!first) {
      const float4 before = sum[n * stride];
      x.c[n][0] += before.x;
      x.c[n][1] += before.y;
      x.c[n][2] += before.z;
      x.c[n][3] += before.w;
    }
    if (!last) sum[n * stride] = make_float4(x.c[n][0], x.c[n][1], x.c[n][2], x.c[n][3]);
  }
}

// Rounds d - along x, the gradient of the rows of x, into x's place in the tile, and copies the
// rows of the chunk out from there.
__device__ __forceinline__ void WriteRows(const NarrowAccumulator& d, const float (&along)[2],
                                          Bf16* tile, int half, int rows, Bf16* out,
                                          int64_t stride) {
  NarrowPairs x = LoadPairs(tile, half);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      uint32_t& pair = x.w[n / 2][2 * (n % 2) + h];
      pair = Pack(d.c[n][2 * h] - along[h] * UnpackLow(pair),
                  d.c[n][2 * h + 1] - along[h] * UnpackHigh(pair));
    }
  }
  StorePairs(tile, half, x);
  __syncwarp();
  const int lane = LaneId(), piece = 4 * half + lane % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 16 * WarpOfGroup() + 8 * i + lane / 4;
    if (row < rows) {
      *reinterpret_cast<uint4*>(out + row * stride + 8 * piece) =
          *reinterpret_cast<const uint4*>(TileRow(tile, row, piece));
    }
  }
}

// This thread's part of the dot product of two arrays, of which it has the slices of 8 elements
// thread, thread + threads, ...
template <int kPieces>
__device__ __forceinline__ float ThreadDot(const Bf16* x, const Bf16* y, int thread, int threads) {
  float sum[2] = {0.f, 0.f};
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int at = i * threads + thread;
    const uint4 a = reinterpret_cast<const uint4*>(x)[at],
                b = reinterpret_cast<const uint4*>(y)[at];
    const auto add = [&](uint32_t a_pair, uint32_t b_pair) {
      sum[0] = fmaf(UnpackLow(a_pair), UnpackLow(b_pair), sum[0]);
      sum[1] = fmaf(UnpackHigh(a_pair), UnpackHigh(b_pair), sum[1]);
    };
    add(a.x, b.x);
    add(a.y, b.y);
    add(a.z, b.z);
    add(a.w, b.w);
  }
  return sum[0] + sum[1];
}

// ---- Sums over pairs of rows, w = x y in place of x; of 32 columns from 32 half on ----

// The quadrant of rows from 32 on and columns before: sums along rows and along columns.
__device__ __forceinline__ void StoreLateSums(const NarrowAccumulator& x,
                                              const NarrowAccumulator& y, float* late_rows,
                                              float* early_columns) {
  const int lane = LaneId();
  float columns[8], rows[2] = {0.f, 0.f};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float first = x.c[n][e] * y.c[n][e], second = x.c[n][2 + e] * y.c[n][2 + e];
      rows[0] += first;
      rows[1] += second;
      columns[2 * n + e] = first + second;
    }
  }
  Fold<1>(rows, 1);
  rows[0] += __shfl_xor_sync(0xffffffffu, rows[0], 2);
  if (lane % 4 < 2) late_rows[16 * (WarpOfGroup() % 2) + lane / 4 + 8 * (lane % 2)] = rows[0];
  const float sum = FoldColumns(columns);
  const int index = lane / 4;
  early_columns[8 * (index / 2) + 2 * (lane % 4) + index % 2] = sum;
}

// A quadrant on the diagonal: to[t] = sum_{i >= t > j} w_ij over the warp's 16 rows i, t and j of
// the quadrant; w is lower triangular. The sums over j < t are products with a triangle of ones, w
// in two bf16 terms.
__device__ __forceinline__ void StorePairSums(const NarrowAccumulator& x,
                                              const NarrowAccumulator& y, float* to) {
  const int lane = LaneId(), own = lane / 4, inner = 2 * (lane % 4);
  const int row = 16 * (WarpOfGroup() % 2) + own;
  constexpr uint32_t kOne = 0x3f80, kOnes = 0x3f803f80;
  // Ones where the inner position is before the column, `own` of 8.
  const uint32_t triangle = (inner < own ? kOne : 0) | (inner + 1 < own ? kOne << 16 : 0);
  float columns[8];              // of columns 16 j + 8 part + inner and the next
  float before[2] = {0.f, 0.f};  // of the two rows, over the columns so far
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    uint32_t high[4], low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = 2 * j + i / 2, e = 2 * (i % 2);
      const SplitPair pair = Split(x.c[n][e] * y.c[n][e], x.c[n][e + 1] * y.c[n][e + 1]);
      high[i] = pair.high;
      low[i] = pair.low;
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const uint32_t b0 = part == 0 ? triangle : kOnes, b1 = part == 0 ? 0 : triangle;
      float sums[4] = {};
      MmaBf16(sums, low, b0, b1);
      MmaBf16(sums, high, b0, b1);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 16 * j + 8 * part + inner + e;
        const float first = row < column ? 0.f : before[0] + sums[e];
        const float second = row + 8 < column ? 0.f : before[1] + sums[2 + e];
        columns[4 * j + 2 * part + e] = first + second;
      }
    }
    if (j == 1) break;
    float all[4] = {};
    MmaBf16(all, low, kOnes, kOnes);
    MmaBf16(all, high, kOnes, kOnes);
    before[0] = all[0];
    before[1] = all[2];
  }
  const float sum = FoldColumns(columns);
  const int index = lane / 4;
  to[8 * (index / 2) + inner + index % 2] = sum;
}

}  // namespace wyvern::sm90
