// Pieces of WyChannels (wy_channels.cu): what a warp, with 16 rows and 64 channels
// of a chunk, does.
#pragma once

#include "kernels/common/sm90/async.cuh"
#include "kernels/delta_rule/sm90/channel_decay.cuh"
#include "kernels/delta_rule/sm90/ut_transform.cuh"

namespace wyvern::sm90 {

constexpr int kWyWarps = 4;  // of a group
constexpr int kWySteps = 4;  // of 16 channels
constexpr int kRowBlock = 16 * kTile;

// Named barriers of the kernel's block, beside those of the UT transform.
enum WyBarrier {
  kWyGroup = kUtBarriersEnd,  // the first warpgroup; the next number is the second's
};

template <int kGroups>
struct WyShared {
  // By group. Each first as loaded, then the operand that takes its place (e^G q, e^G k, kbar),
  // then parts of M and P; in the end q[0] is P.
  Bf16 q[kGroups][kTileElements], k[kGroups][kTileElements], gate[kGroups][kTileElements];
  Bf16 columns[kGroups][kTileElements];  // k B
  // Factors of each channel. A warp's: e^base, e^(what follows its rows), the next block up but
  // one. Then the inverse's scratch.
  float base[kWyWarps][64 * kGroups], rest[kWyWarps][64 * kGroups];
  float skip_one[kWyWarps][64 * kGroups], skip_two[64 * kGroups];
  float total[kWyWarps][64 * kGroups];  // L of the warp's last row
  float bias[64 * kGroups];
  float squares[2][kGroups][kChunk];  // of the rows of q and k
  float beta[kChunk];
  alignas(16) float scratch[kUtScratchBytes / 4];
  Barrier loaded;
};

// The warp's rows and 64 channels of `tile` to [T, HV, K].
__device__ __forceinline__ void StoreRows(Bf16* to, int64_t ld, const Bf16* tile, int rows) {
  __syncwarp();
  const int piece = LaneId() % 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 16 * WarpOfGroup() + 4 * i + LaneId() / 8;
    if (row < rows) {
      *reinterpret_cast<uint4*>(to + row * ld + 8 * piece) =
          *reinterpret_cast<const uint4*>(TileRow(const_cast<Bf16*>(tile), row, piece));
    }
  }
  __syncwarp();
}

// Two 16 x 16 blocks as accumulators, in the 2 KB of the warp's rows of a tile.
__device__ __forceinline__ float4* PartsAt(Bf16* tile, int block, int n) {
  return reinterpret_cast<float4*>(tile + WarpOfGroup() * kRowBlock) + (2 * block + n) * kWarpSize +
         LaneId();
}
__device__ __forceinline__ void StorePart(Bf16* tile, int block, int n, const float (&x)[4]) {
  *PartsAt(tile, block, n) = make_float4(x[0], x[1], x[2], x[3]);
}
__device__ __forceinline__ void AddPart(float (&x)[4], Bf16* tile, int block, int n) {
  const float4 part = *PartsAt(tile, block, n);
  x[0] += part.x;
  x[1] += part.y;
  x[2] += part.z;
  x[3] += part.w;
}

// Rows of x times r, as floats in the order of a left operand.
__device__ __forceinline__ void Unpack(float (&x)[4][2], const uint32_t (&raw)[4],
                                       const float (&r)[2]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i][0] = UnpackLow(raw[i]) * r[i % 2];
    x[i][1] = UnpackHigh(raw[i]) * r[i % 2];
  }
}

// L of the warp's last row, from running sums of 16 channels.
__device__ __forceinline__ void StoreTotals(float* to, const float (&sums)[2][4]) {
  if (LaneId() < 28) return;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    *reinterpret_cast<float2*>(to + 8 * n + 2 * (LaneId() - 28)) =
        make_float2(sums[n][2], sums[n][3]);
  }
}

// The sum of squares of the warp's rows over a tile's channels.
__device__ __forceinline__ void StoreSquares(float (&squares)[kChunk], const Bf16* tile) {
  float sum[2] = {0.f, 0.f};
#pragma unroll
  for (int step = 0; step < kWySteps; ++step) {
    uint32_t x[4];
    LoadMatrices<false>(x, BlockRow<false>(const_cast<Bf16*>(tile), step));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float low = UnpackLow(x[i]), high = UnpackHigh(x[i]);
      sum[i % 2] = fmaf(low, low, fmaf(high, high, sum[i % 2]));
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    if (LaneId() % 4 == 0) squares[16 * WarpOfGroup() + LaneId() / 4 + 8 * h] = sum[h];
  }
}
template <int kGroups>
__device__ __forceinline__ float NormOf(const float (&squares)[kGroups][kChunk], int row,
                                        const GatedDeltaRuleInputs<Bf16>& in) {
  float sum = 0.f;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) sum += squares[g][row];
  return in.l2_norm ? rsqrtf(sum + static_cast<float>(in.l2_norm_eps)) : 1.f;
}

// The block on the diagonal, and the columns of later blocks and of the next state.
template <int kGroups>
__device__ __forceinline__ void TakeColumns(WyShared<kGroups>& s,
                                            const float (&sums)[kWySteps][2][4],
                                            const float (&query_norm)[2],
                                            const float (&key_norm)[2], int group, float (&m)[2][4],
                                            float (&p)[2][4]) {
  const int warp = WarpOfGroup(), lane = LaneId();
#pragma unroll
  for (int step = 0; step < kWySteps; ++step) {
    const int element = (LaneElement(lane) ^ step << 4) + warp * kRowBlock;
    uint32_t raw[4], columns[4], bar[4], own[4], k_rows[2][4] = {}, q_rows[2][4] = {};
    float q[4][2], k[4][2];
    LoadMatrices<false>(raw, s.k[group] + element);
    Unpack(k, raw, key_norm);
    LoadMatrices<false>(raw, s.q[group] + element);
    Unpack(q, raw, query_norm);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const Anchors anchors = AnchorsOf(sums[step][n], lane);
      const float2 rest = *reinterpret_cast<const float2*>(
          &s.rest[warp][64 * group + 16 * step + 8 * n + 2 * (lane % 4)]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = 2 * n + h;
        const float l0 = sums[step][n][2 * h], l1 = sums[step][n][2 * h + 1];
        const float b0 = k[i][0] * Exp2(anchors.last[0] - l0);
        const float b1 = k[i][1] * Exp2(anchors.last[1] - l1);
        columns[i] = Pack(b0, b1);
        bar[i] = Pack(b0 * rest.x, b1 * rest.y);
        {
          const float a0 = h == 0 ? anchors.first[0] : anchors.second[0];
          const float a1 = h == 0 ? anchors.first[1] : anchors.second[1];
          own[i] = Pack(k[i][0] * Exp2(a0 - l0), k[i][1] * Exp2(a1 - l1));
          float r0 = Exp2(l0 - anchors.first[0]), r1 = Exp2(l1 - anchors.first[1]);
          k_rows[0][i] = Pack(k[i][0] * r0, k[i][1] * r1);
          q_rows[0][i] = Pack(q[i][0] * r0, q[i][1] * r1);
          if (h == 1) {
            r0 = Exp2(l0 - a0);
            r1 = Exp2(l1 - a1);
            k_rows[1][i] = Pack(k[i][0] * r0, k[i][1] * r1);
            q_rows[1][i] = Pack(q[i][0] * r0, q[i][1] * r1);
          }
        }
      }
    }
    StoreMatrices<false>(s.gate[group] + element, bar);
    StoreMatrices<false>(s.columns[group] + element, columns);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      MmaBf16(m[n], k_rows[n], own[n], own[2 + n]);
      MmaBf16(p[n], q_rows[n], own[n], own[2 + n]);
    }
  }
}

// The rows of q or k (`tile`) against the columns of blocks `distance` to the left of the diagonal,
// left[distance - 1]. The tile then holds the operand.
template <int kGroups>
__device__ __forceinline__ void TakeRows(WyShared<kGroups>& s, Bf16* tile,
                                         const float (&decay)[4][2], const float (&norm)[2],
                                         int group, int step, float (&left)[3][2][4]) {
  const int warp = WarpOfGroup(), lane = LaneId();
  const int element = LaneElement(lane) ^ step << 4;
  const int channel = 64 * group + 16 * step + 2 * (lane % 4);
  uint32_t packed[4];
  LoadMatrices<false>(packed, tile + element + warp * kRowBlock);
  float x[4][2];
  Unpack(x, packed, norm);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i][0] *= decay[i][0];
    x[i][1] *= decay[i][1];
  }
  const auto scaled = [&](const float* factor) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 f = *reinterpret_cast<const float2*>(factor + channel + 8 * n);
#pragma unroll
      for (int i = 2 * n; i < 2 * n + 2; ++i) packed[i] = Pack(x[i][0] * f.x, x[i][1] * f.y);
    }
  };
  scaled(s.base[warp]);
  StoreMatrices<false>(tile + element + warp * kRowBlock, packed);
#pragma unroll
  for (int distance = 1; distance < kWyWarps; ++distance) {
    if (distance > warp) continue;
    if (distance == 1) {
#pragma unroll
      for (int i = 0; i < 4; ++i) packed[i] = Pack(x[i][0], x[i][1]);
    } else {
      scaled(distance == 2 ? s.skip_one[warp] : s.skip_two);
    }
    uint32_t columns[4];
    LoadMatrices<false>(columns, s.columns[group] + element + (warp - distance) * kRowBlock);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      MmaBf16(left[distance - 1][n], packed, columns[n], columns[2 + n]);
    }
  }
}

}  // namespace wyvern::sm90
