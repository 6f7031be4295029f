#include "kernels/common/common.cuh"
#include "kernels/pointwise/draw.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) DrawNormalKernel(DrawNormalParams<float> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < p.num_elements) {
    p.values[i] = static_cast<float>(p.stddev * p.random.Normal(static_cast<uint64_t>(i)));
  }
}

}  // namespace

template <>
void DrawNormal(CudaTag, const DrawNormalParams<float>& p) {
  if (p.num_elements == 0) return;
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(p.num_elements, kThreads));
  DrawNormalKernel<<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern
