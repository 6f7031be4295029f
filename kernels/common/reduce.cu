#include "kernels/common/common.cuh"
#include "kernels/common/reduce.cuh"

namespace wyvern {
namespace {

constexpr int kLanes = 32;

// Thread (x, y) sums rows y, y + kLanes, ... of column blockIdx.x * kLanes + x.
__global__ void __launch_bounds__(kLanes* kLanes)
    SumPartialsKernel(const float* __restrict__ partials, int64_t num_partials, int64_t a,
                      int64_t b, bool add, float* out) {
  __shared__ float sums[kLanes][kLanes + 1];
  const int64_t dim = a * b, i = static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x;
  float sum = 0;
  if (i < dim) {
#pragma unroll 4
    for (int64_t j = threadIdx.y; j < num_partials; j += kLanes) sum += partials[j * dim + i];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= dim) return;
  sum = 0;
#pragma unroll
  for (int y = 0; y < kLanes; ++y) sum += sums[y][threadIdx.x];
  float* const to = out + i % b * a + i / b;
  *to = add ? *to + sum : sum;
}

}  // namespace

void SumPartialsTransposed(const float* partials, int64_t num_partials, int64_t a, int64_t b,
                           float* out, bool add, StreamHandle stream) {
  if (a * b == 0) return;
  SumPartialsKernel<<<static_cast<unsigned>(CeilDiv<int64_t>(a * b, kLanes)), dim3(kLanes, kLanes),
                      0, ToStream(stream)>>>(partials, num_partials, a, b, add, out);
  CUDA_CHECK_LAUNCH();
}

void SumPartials(const float* partials, int64_t num_partials, int64_t dim, float* out, bool add,
                 StreamHandle stream) {
  SumPartialsTransposed(partials, num_partials, 1, dim, out, add, stream);
}

}  // namespace wyvern
