// Running sums by one block.
#pragma once

#include "kernels/common/common.cuh"

namespace wyvern {

// sums[i] = value(0) + .. + value(i - 1) for 0 <= i <= n, by all kThreads threads of a block, for
// sums in shared or global memory that this block alone writes. value is asked twice for each i.
// Ends with a barrier.
template <int kThreads, class F>
__device__ __forceinline__ void ExclusiveScan(int n, F&& value, int* sums) {
  __shared__ int of_warps[kThreads / kWarpSize];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarpSize;
  const int each = CeilDiv(n, kThreads), begin = min(n, thread * each);
  const int end = min(n, begin + each);
  int total = 0;
  for (int i = begin; i < end; ++i) total += value(i);
  int before = total;  // up to and with this thread of the warp
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, before, offset);
    if (lane >= offset) before += other;
  }
  if (lane == kWarpSize - 1) of_warps[thread / kWarpSize] = before;
  __syncthreads();
  before -= total;
  for (int w = 0; w < thread / kWarpSize; ++w) before += of_warps[w];
  for (int i = begin; i < end; ++i) {
    sums[i] = before;
    before += value(i);
  }
  if (thread == kThreads - 1) sums[n] = before;
  __syncthreads();
}

}  // namespace wyvern
