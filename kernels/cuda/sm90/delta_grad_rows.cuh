// Sums over rows and pairs of rows in the gradient pass of a decay per head (delta_grad.cu).
#pragma once

#include "kernels/cuda/sm90/delta.cuh"
#include "kernels/cuda/sm90/inverse.cuh"

namespace wyvern::sm90 {

// By warpgroup, or by warp of both warpgroups.
struct GradSums {
  float u[2][kChunk], z[2][kChunk];          // of each row: what counts from it on, and after it
  float dot_q[2][kChunk], dot_k[2][kChunk];  // of each row: the gradient's product with x
  float pairs[8][kChunk];                    // [t]: over pairs i >= t > j
  float states[8];                           // of S dS+
};

// What this thread adds to the dot product of kCount elements of two tiles.
template <int kCount, int kUnroll>
__device__ __forceinline__ float ThreadDot(const Bf16* x, const Bf16* y) {
  float sum[2] = {0.f, 0.f};
#pragma unroll kUnroll
  for (int i = 0; i < kCount / (8 * kWarpgroupThreads); ++i) {
    const int at = i * kWarpgroupThreads + static_cast<int>(threadIdx.x) % kWarpgroupThreads;
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

// to[row] = the sum over the four threads that share a row; 0 in rows beyond the chunk.
__device__ __forceinline__ void StoreRowSums(float (&sums)[2], int rows, float* to) {
  const int lane = LaneId();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = 16 * WarpOfGroup() + lane / 4 + 8 * half;
    float sum = sums[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (lane % 4 == 0) to[row] = row < rows ? sum : 0.f;
  }
}

// to += f x with f = sign factors[row]. kDots: the products of the rows of f x and of a tile are
// added to dots, those of rows 16 w + lane / 4 and the row 8 below.
template <bool kDots>
__device__ __forceinline__ void AddScaled(Accumulator& to, const Accumulator& x,
                                          const float* factors, float sign, const Bf16* tile,
                                          float (&dots)[2]) {
  const int row = 16 * WarpOfGroup() + LaneId() / 4;
  const float factor[2] = {sign * factors[row], sign * factors[row + 8]};
  float own[2] = {0.f, 0.f};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t words[4] = {};
    if constexpr (kDots) LoadMatrices<false>(words, BlockRow<false>(const_cast<Bf16*>(tile), j));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = 2 * j + i / 2, half = i % 2;
      const float* const pair = x.c[n] + 2 * half;
      if constexpr (kDots) {
        own[half] = fmaf(pair[0], UnpackLow(words[i]), own[half]);
        own[half] = fmaf(pair[1], UnpackHigh(words[i]), own[half]);
      }
      to.c[n][2 * half] = fmaf(factor[half], pair[0], to.c[n][2 * half]);
      to.c[n][2 * half + 1] = fmaf(factor[half], pair[1], to.c[n][2 * half + 1]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) dots[half] = fmaf(factor[half], own[half], dots[half]);
  Pin(to);  // x ends here
}

// Rounds d - along x, the gradient of the rows of the tile x, and copies the rows of the chunk out.
// Each warp goes through its own rows of `staging`, which it may use again at once.
__device__ __forceinline__ void WriteRows(const Accumulator& d, const float (&along)[2],
                                          const Bf16* x, Bf16* staging, int rows, Bf16* out,
                                          int64_t stride) {
  const int lane = LaneId();
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t words[4];
    LoadMatrices<false>(words, BlockRow<false>(const_cast<Bf16*>(x), j));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = d.c[2 * j + i / 2] + 2 * (i % 2);
      words[i] = Pack(pair[0] - along[i % 2] * UnpackLow(words[i]),
                      pair[1] - along[i % 2] * UnpackHigh(words[i]));
    }
    StoreMatrices<false>(BlockRow<false>(staging, j), words);
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 16 * WarpOfGroup() + 4 * i + lane / 8;
    if (row < rows) {
      *reinterpret_cast<uint4*>(out + row * stride + 8 * (lane % 8)) =
          *reinterpret_cast<const uint4*>(TileRow(staging, row, lane % 8));
    }
  }
  __syncwarp();
}

// to[row] = the product of the row of d and that of the tile x.
__device__ __forceinline__ void StoreRowDots(const Accumulator& d, const Bf16* x, float* to) {
  float sums[2] = {0.f, 0.f};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t words[4];
    LoadMatrices<false>(words, BlockRow<false>(const_cast<Bf16*>(x), j));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = d.c[2 * j + i / 2] + 2 * (i % 2);
      sums[i % 2] = fmaf(pair[0], UnpackLow(words[i]), sums[i % 2]);
      sums[i % 2] = fmaf(pair[1], UnpackHigh(words[i]), sums[i % 2]);
    }
  }
  StoreRowSums(sums, kChunk, to);
}

// Elements (row, row) of the rows lane / 4 and lane / 4 + 8 of the warp's 16; false in threads that
// hold none of the diagonal.
__device__ __forceinline__ bool Diagonal(const Accumulator& x, float (&diagonal)[2]) {
  const int lane = LaneId(), warp = WarpOfGroup();
  diagonal[0] = diagonal[1] = 0.f;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const float* const pair = x.c[n] + 2 * (n % 2);
    if (n / 2 == warp) diagonal[n % 2] = lane / 4 % 2 == 0 ? pair[0] : pair[1];
  }
  return lane / 8 == lane % 4;
}

// Each of two threads that differ in `bit` takes kKept of twice as many sums.
template <int kKept>
__device__ __forceinline__ void Fold(float (&sums)[16], int bit) {
  const bool upper = (LaneId() & bit) != 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float mine = upper ? sums[kKept + i] : sums[i];
    const float other = upper ? sums[i] : sums[kKept + i];
    sums[i] = mine + __shfl_xor_sync(0xffffffffu, other, bit);
  }
}

// to[t] = sum_{i >= t > j} x_ij y_ij over the 16 rows of a warp, for every t; x is lower
// triangular. The sums over j < t are products with a triangle of ones, x y in two bf16 terms.
__device__ __forceinline__ void StorePairSums(const Accumulator& x, const Accumulator& y,
                                              float* to) {
  const int lane = LaneId(), own = lane / 4, inner = 2 * (lane % 4);
  const int row = 16 * WarpOfGroup() + own;
  constexpr uint32_t kOne = 0x3f80, kOnes = 0x3f803f80;
  // Ones where the inner position is before the column, `own` of 8.
  const uint32_t triangle = (inner < own ? kOne : 0) | (inner + 1 < own ? kOne << 16 : 0);
  float columns[16];             // of columns 16 j + 8 half + inner and the next
  float before[2] = {0.f, 0.f};  // of the two rows, over the columns so far
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t high[4], low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = 2 * j + i / 2, e = 2 * (i % 2);
      const SplitPair pair = Split(x.c[n][e] * y.c[n][e], x.c[n][e + 1] * y.c[n][e + 1]);
      high[i] = pair.high;
      low[i] = pair.low;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t b0 = half == 0 ? triangle : kOnes, b1 = half == 0 ? 0 : triangle;
      float sums[4] = {};
      MmaBf16(sums, low, b0, b1);
      MmaBf16(sums, high, b0, b1);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 16 * j + 8 * half + inner + e;
        const float first = row < column ? 0.f : before[0] + sums[e];
        const float second = row + 8 < column ? 0.f : before[1] + sums[2 + e];
        columns[4 * j + 2 * half + e] = first + second;
      }
    }
    float all[4] = {};
    MmaBf16(all, low, kOnes, kOnes);
    MmaBf16(all, high, kOnes, kOnes);
    before[0] += all[0];
    before[1] += all[2];
  }
  // Sums over the 8 threads that share columns; each keeps two of the 16.
  Fold<8>(columns, 16);
  Fold<4>(columns, 8);
  Fold<2>(columns, 4);
  const int t = 16 * (lane / 8) + 8 * (lane / 4 % 2) + inner;
  *reinterpret_cast<float2*>(to + t) = make_float2(columns[0], columns[1]);
}

// dg of one value head in a chunk; `decay` is e^{G_C}. Each of the 8 warps has 8 rows and each lane
// a quarter of the sums of one of them.
__device__ __forceinline__ void WriteLogDecayGrad(const GradSums& sums, float decay, int warp,
                                                  int rows, float* dg, int64_t stride) {
  const int lane = LaneId(), t = 8 * warp + lane / 4, quarter = lane % 4;
  float sum = decay * (sums.states[2 * quarter] + sums.states[2 * quarter + 1]) +
              sums.pairs[2 * quarter][t] + sums.pairs[2 * quarter + 1][t];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 16 * quarter + 4 * i;
    const auto add = [&](const float* from, bool before) {
      const float4 x = *reinterpret_cast<const float4*>(from + row);
      sum += (row < t) == before ? x.x : 0.f;
      sum += (row + 1 < t) == before ? x.y : 0.f;
      sum += (row + 2 < t) == before ? x.z : 0.f;
      sum += (row + 3 < t) == before ? x.w : 0.f;
    };
    add(sums.u[0], false);
    add(sums.u[1], false);
    add(sums.z[0], true);
    add(sums.z[1], true);
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  if (quarter == 0 && t < rows) dg[t * stride] = sum;
}

}  // namespace wyvern::sm90
