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
template <int kCount>
__device__ __forceinline__ float ThreadDot(const Bf16* x, const Bf16* y) {
  float sum[2] = {0.f, 0.f};
#pragma unroll 1
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

// The gradient of x, in the warp's 16 rows of a tile that holds x: rn(d - along x), copied out.
__device__ __forceinline__ void WriteRows(const Accumulator& d, const float (&along)[2], Bf16* tile,
                                          int rows, Bf16* out, int64_t stride) {
  const int lane = LaneId();
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t x[4];
    LoadMatrices<false>(x, BlockRow<false>(tile, j));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = d.c[2 * j + i / 2] + 2 * (i % 2);
      x[i] =
          Pack(pair[0] - along[i % 2] * UnpackLow(x[i]), pair[1] - along[i % 2] * UnpackHigh(x[i]));
    }
    StoreMatrices<false>(BlockRow<false>(tile, j), x);
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 16 * WarpOfGroup() + 4 * i + lane / 8;
    if (row < rows) {
      *reinterpret_cast<uint4*>(out + row * stride + 8 * (lane % 8)) =
          *reinterpret_cast<const uint4*>(TileRow(tile, row, lane % 8));
    }
  }
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

// sum_{i >= t > j} w_ij for every t, over the 16 rows of a warp, of which w is lower triangular.
// The sums over j < t are products with a triangle of ones, w in two bf16 terms.
class PairSums {
 public:
  // Of columns 16 j .. 16 j + 15, in ascending order of j up to the warp's own rows: weight[i] lies
  // as Fragment::r[j][i].
  __device__ __forceinline__ void Add(int j, const float (&weight)[4][2]) {
    const int lane = LaneId(), own = lane / 4, inner = 2 * (lane % 4);
    constexpr uint32_t kOne = 0x3f80, kOnes = 0x3f803f80;
    uint32_t high[4], low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const SplitPair pair = Split(weight[i][0], weight[i][1]);
      high[i] = pair.high;
      low[i] = pair.low;
    }
    // Ones where the inner position is before the column, `own` of 8.
    const uint32_t triangle = (inner < own ? kOne : 0) | (inner + 1 < own ? kOne << 16 : 0);
    float sums[2][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[half][e] = before_[e];
      const uint32_t b0 = half == 0 ? triangle : kOnes, b1 = half == 0 ? 0 : triangle;
      MmaBf16(sums[half], low, b0, b1);
      MmaBf16(sums[half], high, b0, b1);
      // Rows of at least the column only.
      const bool diagonal = j == WarpOfGroup();
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 8 * half + inner + e;
        const float first = diagonal && own < column ? 0.f : sums[half][e];
        const float second = diagonal && own + 8 < column ? 0.f : sums[half][2 + e];
        columns_[4 * j + 2 * half + e] = first + second;
      }
    }
    MmaBf16(before_, low, kOnes, kOnes);
    MmaBf16(before_, high, kOnes, kOnes);
  }

  // to[t], 0 for t after the warp's rows.
  __device__ __forceinline__ void Store(float* to) {
    const int lane = LaneId();
    // Sums over the 8 threads that share columns; each keeps two of the 16.
    Fold<8>(16);
    Fold<4>(8);
    Fold<2>(4);
    const int t = 16 * (lane / 8) + 8 * (lane / 4 % 2) + 2 * (lane % 4);
    *reinterpret_cast<float2*>(to + t) = make_float2(columns_[0], columns_[1]);
  }

 private:
  // Each of two threads that differ in `bit` takes kKept of twice as many sums.
  template <int kKept>
  __device__ __forceinline__ void Fold(int bit) {
    const bool upper = (LaneId() & bit) != 0;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const float mine = upper ? columns_[kKept + i] : columns_[i];
      const float other = upper ? columns_[i] : columns_[kKept + i];
      columns_[i] = mine + __shfl_xor_sync(0xffffffffu, other, bit);
    }
  }

  float columns_[16] = {};  // [16-block][half][pair element]
  float before_[4] = {};    // sums over the columns so far
};

// dg of one value head in a chunk by one warp, two rows per lane; `decay` is e^{G_C}.
__device__ __forceinline__ void WriteLogDecayGrad(const GradSums& sums, float decay, int rows,
                                                  float* dg, int64_t stride) {
  const int lane = LaneId();
  float u[2], z[2], pairs[2] = {0.f, 0.f}, states = 0.f;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane + kWarpSize * half;
    u[half] = sums.u[0][row] + sums.u[1][row];
    z[half] = sums.z[0][row] + sums.z[1][row];
#pragma unroll
    for (int i = 0; i < 8; ++i) pairs[half] += sums.pairs[i][row];
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) states += sums.states[i];
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float after = __shfl_down_sync(0xffffffffu, u[half], offset);
      const float before = __shfl_up_sync(0xffffffffu, z[half], offset);
      if (lane + offset < kWarpSize) u[half] += after;
      if (lane >= offset) z[half] += before;
    }
  }
  // From this row on; and before this row.
  u[0] += __shfl_sync(0xffffffffu, u[1], 0);
  const float first_half = __shfl_sync(0xffffffffu, z[0], kWarpSize - 1);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float before = __shfl_up_sync(0xffffffffu, z[half], 1);
    z[half] = (lane > 0 ? before : 0.f) + (half == 1 ? first_half : 0.f);
    const int row = lane + kWarpSize * half;
    if (row < rows) dg[row * stride] = u[half] + z[half] + decay * states + pairs[half];
  }
}

}  // namespace wyvern::sm90
