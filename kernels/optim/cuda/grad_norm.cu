#include "kernels/common/multi_tensor.cuh"
#include "kernels/optim/grad_norm.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;
constexpr int64_t kChunk = kThreads * kWidth * 16;
constexpr int kFinalThreads = 1024;

struct Entry {
  const float* grad;
  int64_t num_elements;
  unsigned first_block;
  bool vectorise;
};

// partials[blockIdx.x] = sum of squares of the block's chunk.
__global__ void __launch_bounds__(kThreads)
    SquaresKernel(const __grid_constant__ TensorTable<Entry> table, float* partials) {
  __shared__ float scratch[kThreads / kWarpSize];
  const Entry& e = FindTensor(table, blockIdx.x);
  const int64_t begin = (blockIdx.x - e.first_block) * kChunk;
  const int64_t end = min(e.num_elements, begin + kChunk);
  const int64_t vector_end = e.vectorise ? begin + (end - begin) / kWidth * kWidth : begin;
  float sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x * kWidth; i < vector_end; i += kThreads * kWidth) {
    float x[kWidth];
    LoadFloats(e.grad + i, x);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += x[j] * x[j];
  }
  for (int64_t i = vector_end + threadIdx.x; i < end; i += kThreads) {
    sum += e.grad[i] * e.grad[i];
  }
  sum = BlockSum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__device__ void Finish(double squares, float max_norm, const float* loss, float* norm, float* clip,
                       int32_t* finite) {
  const float result = static_cast<float>(sqrt(squares));
  *norm = result;
  *clip = max_norm == 0.f ? 1.f : fminf(1.f, max_norm / (result + 1e-6f));
  *finite = isfinite(result) && (loss == nullptr || isfinite(*loss)) ? 1 : 0;
}

__global__ void FinishSquaresKernel(const double* squares, int64_t num_squares, float max_norm,
                                    const float* loss, float* norm, float* clip, int32_t* finite) {
  double sum = 0;
  for (int64_t i = 0; i < num_squares; ++i) sum += squares[i];
  Finish(sum, max_norm, loss, norm, clip, finite);
}

// With `squares`, writes the sum there and nothing else.
__global__ void __launch_bounds__(kFinalThreads)
    FinishKernel(const float* partials, int64_t num_partials, double* squares, float max_norm,
                 const float* loss, float* norm, float* clip, int32_t* finite) {
  __shared__ double sums[kFinalThreads];
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < num_partials; i += kFinalThreads) sum += partials[i];
  sums[threadIdx.x] = sum;
  for (int half = kFinalThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x != 0) return;
  if (squares != nullptr) {
    *squares = sums[0];
  } else {
    Finish(sums[0], max_norm, loss, norm, clip, finite);
  }
}

}  // namespace

template <>
void GradNorm(CudaTag, const GradNormParams<float>& p) {
  int64_t num_partials = 0;
  for (const GradNormTensor<float>& t : p.tensors) {
    num_partials += CeilDiv<int64_t>(t.num_elements, kChunk);
  }
  const Buffer partials(Device::kCuda, num_partials * sizeof(float));
  float* next = partials.as<float>();
  const auto make = [&](int64_t i) {
    const GradNormTensor<float>& t = p.tensors[i];
    return Entry{t.grad, t.num_elements, 0, Aligned16(t.grad)};
  };
  ForEachTable<Entry>(static_cast<int64_t>(p.tensors.size()), kChunk, make,
                      [&](const TensorTable<Entry>& table, unsigned num_blocks) {
                        SquaresKernel<<<num_blocks, kThreads, 0, ToStream(p.stream)>>>(table, next);
                        CUDA_CHECK_LAUNCH();
                        next += num_blocks;
                      });
  FinishKernel<<<1, kFinalThreads, 0, ToStream(p.stream)>>>(
      partials.as<float>(), num_partials, p.squares, static_cast<float>(p.max_norm), p.loss, p.norm,
      p.clip, p.finite);
  CUDA_CHECK_LAUNCH();
}

template <>
void FinishGradNorm(CudaTag, const FinishGradNormParams<float>& p) {
  FinishSquaresKernel<<<1, 1, 0, ToStream(p.stream)>>>(
      p.squares, p.num_squares, static_cast<float>(p.max_norm), p.loss, p.norm, p.clip, p.finite);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern
