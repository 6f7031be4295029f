// A stable counting sort. Slices of pairs, one to a warp, are counted; each expert's counts are
// summed over the slices; then every warp walks its slice again and hands out the rows.
#include "kernels/common/block_scan.cuh"
#include "kernels/moe/expert_plan.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kSlicePairs = 256;
constexpr int kMaxExperts = 1024;
// One bin more than experts takes indices that are none: their pairs get the last rows.
constexpr int kMaxBins = kMaxExperts + 1;

struct Slices {
  int num_pairs, num_experts, num_slices;
  const int32_t* indices;  // [R]
  int32_t* counts;         // [E + 1, S] of each bin and slice; then, of the slices before it
  int32_t* totals;         // [E + 1] of each bin
};

__device__ __forceinline__ int SliceOfWarp() {
  return static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
}

// fn(pair, bin, rank) for the slice's pairs, 32 at a time: `rank` of the 32 go to this bin before
// this one. `next` [E + 1], of this warp, counts the pairs of each bin that went before the 32.
template <class F>
__device__ __forceinline__ void WalkSlice(const Slices& s, int slice, int* next, F&& fn) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int i = 0; i < kSlicePairs; i += kWarpSize) {
    const int pair = slice * kSlicePairs + i + lane;
    const bool valid = pair < s.num_pairs;
    const int expert = valid ? s.indices[pair] : 0;
    const int bin = !valid ? -1 : expert >= 0 && expert < s.num_experts ? expert : s.num_experts;
    const unsigned peers = __match_any_sync(0xffffffffu, bin);
    const int rank = __popc(peers & ((1u << lane) - 1));
    if (valid) fn(pair, bin, rank);
    __syncwarp();
    if (valid && rank == 0) next[bin] += __popc(peers);
    __syncwarp();
  }
}

__global__ void __launch_bounds__(kThreads) CountKernel(Slices s) {
  __shared__ int counts[kWarps][kMaxBins];
  const int slice = SliceOfWarp(), lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (slice >= s.num_slices) return;
  int* const mine = counts[threadIdx.x / kWarpSize];
  for (int b = lane; b <= s.num_experts; b += kWarpSize) mine[b] = 0;
  __syncwarp();
  WalkSlice(s, slice, mine, [](int, int, int) {});
  for (int b = lane; b <= s.num_experts; b += kWarpSize) {
    s.counts[static_cast<int64_t>(b) * s.num_slices + slice] = mine[b];
  }
}

// A warp for each bin.
__global__ void __launch_bounds__(kThreads) SumSlicesKernel(Slices s) {
  const int bin = SliceOfWarp(), lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (bin > s.num_experts) return;
  int32_t* const counts = s.counts + static_cast<int64_t>(bin) * s.num_slices;
  int before = 0;
#pragma unroll 4
  for (int i = 0; i < s.num_slices; i += kWarpSize) {
    const int count = i + lane < s.num_slices ? counts[i + lane] : 0;
    int sum = count;
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += other;
    }
    if (i + lane < s.num_slices) counts[i + lane] = before + sum - count;
    before += __shfl_sync(0xffffffffu, sum, kWarpSize - 1);
  }
  if (lane == 0) s.totals[bin] = before;
}

__global__ void __launch_bounds__(kThreads)
    PlaceKernel(Slices s, int32_t* offsets, int32_t* position, int32_t* source) {
  __shared__ int begins[kMaxBins + 1];
  __shared__ int next[kWarps][kMaxBins];
  ExclusiveScan<kThreads>(
      s.num_experts + 1, [&](int b) { return s.totals[b]; }, begins);
  if (blockIdx.x == 0) {
    for (int e = static_cast<int>(threadIdx.x); e <= s.num_experts; e += kThreads) {
      offsets[e] = begins[e];
    }
  }
  const int slice = SliceOfWarp(), lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (slice >= s.num_slices) return;
  int* const mine = next[threadIdx.x / kWarpSize];
  for (int b = lane; b <= s.num_experts; b += kWarpSize) {
    mine[b] = begins[b] + s.counts[static_cast<int64_t>(b) * s.num_slices + slice];
  }
  __syncwarp();
  WalkSlice(s, slice, mine, [&](int pair, int bin, int rank) {
    const int row = mine[bin] + rank;
    position[pair] = row;
    source[row] = pair;
  });
}

__global__ void __launch_bounds__(kMaxExperts) LoadsKernel(ExpertLoadsParams p) {
  const int e = static_cast<int>(threadIdx.x);
  if (e < p.num_experts) p.loads[e] += p.offsets[e + 1] - p.offsets[e];
}

unsigned Blocks(int64_t warps) { return static_cast<unsigned>(CeilDiv<int64_t>(warps, kWarps)); }

}  // namespace

void MakeExpertPlan(CudaTag, const ExpertPlanParams& p) {
  CHECK(p.num_experts >= 1 && p.num_experts <= kMaxExperts, p.num_experts, " experts");
  CHECK(p.num_pairs <= 0x7fffffff - kSlicePairs * kWarps, p.num_pairs, " pairs");
  const cudaStream_t stream = ToStream(p.stream);
  if (p.num_pairs == 0) {
    CUDA_CHECK(cudaMemsetAsync(p.offsets, 0, (p.num_experts + 1) * sizeof(int32_t), stream));
    return;
  }
  const int64_t bins = p.num_experts + 1, num_slices = CeilDiv<int64_t>(p.num_pairs, kSlicePairs);
  const Buffer counts(Device::kCuda, bins * num_slices * sizeof(int32_t));
  const Buffer totals(Device::kCuda, bins * sizeof(int32_t));
  const Slices s = {.num_pairs = static_cast<int>(p.num_pairs),
                    .num_experts = static_cast<int>(p.num_experts),
                    .num_slices = static_cast<int>(num_slices),
                    .indices = p.indices,
                    .counts = counts.as<int32_t>(),
                    .totals = totals.as<int32_t>()};
  CountKernel<<<Blocks(num_slices), kThreads, 0, stream>>>(s);
  CUDA_CHECK_LAUNCH();
  SumSlicesKernel<<<Blocks(bins), kThreads, 0, stream>>>(s);
  CUDA_CHECK_LAUNCH();
  PlaceKernel<<<Blocks(num_slices), kThreads, 0, stream>>>(s, p.offsets, p.position, p.source);
  CUDA_CHECK_LAUNCH();
}

void AddExpertLoads(CudaTag, const ExpertLoadsParams& p) {
  CHECK(p.num_experts >= 1 && p.num_experts <= kMaxExperts, p.num_experts, " experts");
  LoadsKernel<<<1, kMaxExperts, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern
