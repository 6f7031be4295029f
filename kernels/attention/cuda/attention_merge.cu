#include "kernels/attention/attention_merge.h"
#include "kernels/common/common.cuh"

namespace wyvern {
namespace {

constexpr int kRowsPerBlock = 8;

// One warp a row, which is a query and a head.
template <typename Io>
__global__ void __launch_bounds__(kRowsPerBlock* kWarpSize)
    MergeKernel(AttentionMergeParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarpSize;
  if (row >= p.num_queries * p.num_heads) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, dim = static_cast<int>(p.value_dim);
  const int64_t t = row / p.num_heads, h = row - t * p.num_heads;
  float* const lse = p.lse + h * p.strides.head + t * p.strides.token;
  const float own = *lse, added = p.added_lse[h * p.added_strides.head + t * p.added_strides.token];
  const float top = fmaxf(own, added);
  const float sum = expf(own - top) + expf(added - top);
  const float own_share = expf(own - top) / sum, added_share = expf(added - top) / sum;
  for (int i = lane; i < dim; i += kWarpSize) {
    const int64_t at = row * dim + i;
    p.o[at] = FromFloatDevice<Io>(own_share * ToFloatDevice(p.o[at]) +
                                  added_share * ToFloatDevice(p.added[at]));
  }
  __syncwarp();  // all lanes have read lse
  if (lane == 0) *lse = top + logf(sum);
}

}  // namespace

template <typename Io>
void AttentionMerge(CudaTag, const AttentionMergeParams<Io>& p) {
  const int64_t rows = p.num_queries * p.num_heads;
  if (rows == 0) return;
  MergeKernel<Io><<<static_cast<unsigned>(CeilDiv<int64_t>(rows, kRowsPerBlock)),
                    kRowsPerBlock * kWarpSize, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

template void AttentionMerge(CudaTag, const AttentionMergeParams<float>&);
template void AttentionMerge(CudaTag, const AttentionMergeParams<Bf16>&);

}  // namespace wyvern
