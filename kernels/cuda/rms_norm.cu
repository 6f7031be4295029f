#include <algorithm>

#include "kernels/cuda/common.cuh"
#include "kernels/ops/rms_norm.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxPartials = 256;  // blocks that share the sum over rows of d_weight

template <typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(RmsNormFwdParams<Io> p) {
  __shared__ float scratch[kThreads / kWarpSize];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * p.dim;
  const Io* s = p.x + row;
  float square = 0;
  if (p.residual != nullptr) {
    for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) {
      const Io sum =
          FromFloatDevice<Io>(ToFloatDevice(p.x[row + i]) + ToFloatDevice(p.residual[row + i]));
      p.sum[row + i] = sum;
      square += ToFloatDevice(sum) * ToFloatDevice(sum);
    }
    s = p.sum + row;
  } else {
    for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) {
      square += ToFloatDevice(s[i]) * ToFloatDevice(s[i]);
    }
  }
  square = BlockSum<kThreads>(square, scratch);
  const float r = rsqrtf(square / static_cast<float>(p.dim) + static_cast<float>(p.eps));
  // Each thread reads back only elements that it wrote itself.
  for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) {
    p.y[row + i] = FromFloatDevice<Io>(ToFloatDevice(s[i]) * r * p.weight[i]);
  }
  if (threadIdx.x == 0) p.rstd[blockIdx.x] = r;
}

// Each block walks rows blockIdx.x, blockIdx.x + gridDim.x, ... and leaves its part of d_weight in
// partials[blockIdx.x]. Thread j owns columns j, j + kThreads, ...
template <typename Io>
__global__ void __launch_bounds__(kThreads) BwdKernel(RmsNormBwdParams<Io> p, float* partials) {
  __shared__ float scratch[kThreads / kWarpSize];
  float* partial = partials + static_cast<int64_t>(blockIdx.x) * p.dim;
  for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) partial[i] = 0;
  for (int64_t t = blockIdx.x; t < p.num_rows; t += gridDim.x) {
    const int64_t row = t * p.dim;
    const float r = p.rstd[t];
    float c = 0;
    for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) {
      c += ToFloatDevice(p.dy[row + i]) * p.weight[i] * ToFloatDevice(p.s[row + i]);
    }
    c = BlockSum<kThreads>(c, scratch) * r / static_cast<float>(p.dim);
    for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) {
      const float dy = ToFloatDevice(p.dy[row + i]), n = ToFloatDevice(p.s[row + i]) * r;
      const float d_sum = p.d_sum == nullptr ? 0.f : ToFloatDevice(p.d_sum[row + i]);
      p.ds[row + i] = FromFloatDevice<Io>(r * (dy * p.weight[i] - n * c) + d_sum);
      partial[i] += dy * n;
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    SumPartialsKernel(const float* partials, int num_partials, int64_t dim, float* d_weight) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= dim) return;
  float sum = 0;
  for (int j = 0; j < num_partials; ++j) sum += partials[j * dim + i];
  d_weight[i] = sum;
}

}  // namespace

template <typename Io>
void RmsNormFwd(CudaTag, const RmsNormFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  FwdKernel<<<static_cast<unsigned>(p.num_rows), kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void RmsNormBwd(CudaTag, const RmsNormBwdParams<Io>& p) {
  const int num_partials =
      static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(kMaxPartials, p.num_rows)));
  const Buffer partials(Device::kCuda, num_partials * p.dim * sizeof(float));
  BwdKernel<<<num_partials, kThreads, 0, ToStream(p.stream)>>>(p, partials.as<float>());
  CUDA_CHECK_LAUNCH();
  SumPartialsKernel<<<static_cast<unsigned>(CeilDiv<int64_t>(p.dim, kThreads)), kThreads, 0,
                      ToStream(p.stream)>>>(partials.as<float>(), num_partials, p.dim, p.d_weight);
  CUDA_CHECK_LAUNCH();
}

template void RmsNormFwd(CudaTag, const RmsNormFwdParams<float>&);
template void RmsNormFwd(CudaTag, const RmsNormFwdParams<Bf16>&);
template void RmsNormBwd(CudaTag, const RmsNormBwdParams<float>&);
template void RmsNormBwd(CudaTag, const RmsNormBwdParams<Bf16>&);

}  // namespace wyvern
