// dg of gated_delta_rule_grad.cu: sums over the rows of a chunk. All threads of a block call these.
#pragma once

#include <type_traits>

#include "kernels/delta_rule/cuda/gated_delta_rule.cuh"

namespace wyvern::delta {

// What must cancel is summed in double when its terms are fp32.
template <typename T>
using WideOf = std::conditional_t<kIsBf16<T>, float, double>;

// For row t = threadIdx.x, if there is one, the sum of pairs[i][j] over i >= t > j; else 0. A tile
// of its own, 0 where i <= j, which is overwritten.
__device__ __forceinline__ float SumOfPairsAround(float* pairs) {
  constexpr int kLd = kTileLd<float>;
  const int t = static_cast<int>(threadIdx.x);
  if (t < kChunk) {
    float* row = pairs + t * kLd;
    float before = 0;
    for (int j = 0; j <= t; ++j) {
      const float own = row[j];
      row[j] = before;
      before += own;
    }
  }
  __syncthreads();
  float sum = 0;
  if (t < kChunk) {
    for (int i = t; i < kChunk; ++i) sum += pairs[i * kLd + t];
  }
  return sum;
}

// Of 64 key channels: u_t becomes the sum of u_i over i >= t, z_t that of z_j over j < t. The tiles
// are complete.
template <typename T>
__device__ __forceinline__ void SumOverRows(WideOf<T>* u, float* z) {
  constexpr int kLd = kTileLd<float>;
  const int tid = static_cast<int>(threadIdx.x);
  if (tid < kTile) {
    WideOf<T> sum = 0;
    for (int i = kChunk - 1; i >= 0; --i) {
      sum += u[i * kLd + tid];
      u[i * kLd + tid] = sum;
    }
  } else if (tid < 2 * kTile) {
    const int d = tid - kTile;
    float sum = 0;
    for (int i = 0; i < kChunk; ++i) {
      const float own = z[i * kLd + d];
      z[i * kLd + d] = sum;
      sum += own;
    }
  }
  __syncthreads();
}

}  // namespace wyvern::delta
