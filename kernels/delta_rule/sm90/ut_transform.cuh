// The UT transform: the inverse of a chunk's unit lower triangular matrix, by one warpgroup in
// registers.
//
// 16 x 16 blocks on the diagonal by substitution in fp32, which alone is accurate for repeated keys
// (then n is nearly a full triangle of beta); block rows below one another by substitution of
// blocks, X_wj = -D_w sum_{k < w} N_wk X_kj, with operands in two bf16 terms.
#pragma once

#include "kernels/common/sm90/async.cuh"
#include "kernels/common/tile_mma.cuh"

namespace wyvern::sm90 {

constexpr int kUtBlock = 16;
constexpr int kUtLd = 20;  // fp32 elements; spreads rows over banks
constexpr int kUtScratchBytes = 4 * kUtBlock * kUtLd * 4;
// Named barriers that UtTransform uses: for each block row but the last.
enum UtBarrier {
  kUtBlockRow = 1,
  kUtBarriersEnd = kUtBlockRow + 3,  // the first that is free
};

// Two bf16 terms of pairs of floats.
struct SplitPair {
  uint32_t high, low;
};
__device__ __forceinline__ SplitPair Split(float x0, float x1) {
  const uint32_t high = Pack(x0, x1);
  return {high, Pack(x0 - UnpackLow(high), x1 - UnpackHigh(high))};
}

// c (16 x 8) += a b, the product of both low terms left out.
__device__ __forceinline__ void SplitMma(float (&c)[4], const uint32_t (&a_high)[4],
                                         const uint32_t (&a_low)[4], const SplitPair (&b)[2]) {
  MmaBf16(c, a_low, b[0].high, b[1].high);
  MmaBf16(c, a_high, b[0].low, b[1].low);
  MmaBf16(c, a_high, b[0].high, b[1].high);
}

// high = (I + n)^-1 rounded to bf16, and in its lower block triangle low = what the rounding lost.
// n is strictly lower triangular, zero from row `rows` on, where the result is zero too. By the 128
// threads of one warpgroup; scratch (kUtScratchBytes, 16-byte aligned) and the tiles are free
// on entry. A barrier comes before others read the tiles.
__device__ __forceinline__ void UtTransform(const Accumulator& n, int rows, Bf16* high, Bf16* low,
                                            float* scratch) {
  const int warp = WarpOfGroup(), lane = LaneId();
  float* const block = scratch + warp * kUtBlock * kUtLd;
#pragma unroll
  for (int part = 0; part < 8; ++part) {
    if (part / 2 != warp) continue;
    float* const to = block + lane / 4 * kUtLd + 8 * (part % 2) + 2 * (lane % 4);
    *reinterpret_cast<float2*>(to) = make_float2(n.c[part][0], n.c[part][1]);
    *reinterpret_cast<float2*>(to + 8 * kUtLd) = make_float2(n.c[part][2], n.c[part][3]);
  }
  __syncwarp();
  {
    // Row i of X (I + N) = I, from its last column back; lanes 16 and up do the same rows again and
    // store the low terms.
    const int i = lane % kUtBlock;
    float x[kUtBlock];
#pragma unroll
    for (int j = 0; j < kUtBlock; ++j) {
      x[j] = i == j && kUtBlock * warp + i < rows ? 1.f : 0.f;
    }
#pragma unroll
    for (int k = kUtBlock - 1; k > 0; --k) {
#pragma unroll
      for (int j = 0; j < k; j += 4) {
        const float4 f = *reinterpret_cast<const float4*>(block + k * kUtLd + j);
        x[j] = fmaf(-x[k], f.x, x[j]);
        if (j + 1 < k) x[j + 1] = fmaf(-x[k], f.y, x[j + 1]);
        if (j + 2 < k) x[j + 2] = fmaf(-x[k], f.z, x[j + 2]);
        if (j + 3 < k) x[j + 3] = fmaf(-x[k], f.w, x[j + 3]);
      }
    }
    uint32_t packed[kUtBlock / 2];
#pragma unroll
    for (int j = 0; j < kUtBlock / 2; ++j) {
      const SplitPair pair = Split(x[2 * j], x[2 * j + 1]);
      packed[j] = lane < kUtBlock ? pair.high : pair.low;
    }
    Bf16* const tile = lane < kUtBlock ? high : low;
#pragma unroll
    for (int piece = 0; piece < 2; ++piece) {
      *reinterpret_cast<uint4*>(TileRow(tile, kUtBlock * warp + i, 2 * warp + piece)) = make_uint4(
          packed[4 * piece], packed[4 * piece + 1], packed[4 * piece + 2], packed[4 * piece + 3]);
    }
  }
  __syncwarp();

  // Transposed sums t[j] = (sum_k N_wk X_kj)^T: then N_wk^T as a right operand is what this warp
  // holds of n, and so is t[j] as the right operand of D_w t[j].
  float t[3][2][4] = {};
  const int matrix = lane / 8;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    if (k >= warp) continue;
    Sync(kUtBlockRow + k, (4 - k) * kWarpSize);  // block row k is there
    SplitPair b[2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        b[half][part] = Split(n.c[2 * k + part][2 * half], n.c[2 * k + part][2 * half + 1]);
      }
    }
#pragma unroll
    for (int j = 0; j <= k; ++j) {
      const int row = kUtBlock * k + 8 * (matrix / 2) + lane % 8, piece = 2 * j + matrix % 2;
      uint32_t x_high[4], x_low[4];
      LoadMatrices<true>(x_high, TileRow(high, row, piece));
      LoadMatrices<true>(x_low, TileRow(low, row, piece));
      SplitMma(t[j][0], x_high, x_low, b[0]);
      SplitMma(t[j][1], x_high, x_low, b[1]);
    }
  }
  uint32_t d_high[4], d_low[4];
  LoadMatrices<false>(d_high, BlockRow<false>(high, warp));
  LoadMatrices<false>(d_low, BlockRow<false>(low, warp));
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j > warp) {
      const uint32_t zeros[4] = {};
      StoreMatrices<false>(BlockRow<false>(high, j), zeros);
    }
    if (j >= warp || j == 3) continue;
    uint32_t x_high[4], x_low[4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const SplitPair b[2] = {Split(-t[j][0][2 * half], -t[j][0][2 * half + 1]),
                              Split(-t[j][1][2 * half], -t[j][1][2 * half + 1])};
      float x[4] = {};
      SplitMma(x, d_high, d_low, b);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const SplitPair pair = Split(x[2 * i], x[2 * i + 1]);
        x_high[2 * half + i] = pair.high;
        x_low[2 * half + i] = pair.low;
      }
    }
    StoreMatrices<false>(BlockRow<false>(high, j), x_high);
    StoreMatrices<false>(BlockRow<false>(low, j), x_low);
  }
  if (warp < 3) Sync(kUtBlockRow + warp, (4 - warp) * kWarpSize);
}

}  // namespace wyvern::sm90
