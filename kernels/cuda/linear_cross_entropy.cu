#include "kernels/cuda/vector.cuh"
#include "kernels/ops/linear_cross_entropy.h"

namespace wyvern {
namespace {

constexpr int kThreads = 512;
constexpr int kMeanThreads = 1024;

// A block per row, read once: each thread keeps the largest logit it has met and the sum of
// exponentials relative to it.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(CrossEntropyFwdParams<Io> p) {
  __shared__ float scratch[kThreads / kWarpSize];
  const int64_t row = blockIdx.x;
  const float* logits = p.logits + row * p.vocab;
  float largest = -INFINITY, sum = 0;
  for (int64_t v = threadIdx.x * N; v < p.vocab; v += kThreads * N) {
    float x[N];
    LoadFloats(logits + v, x);
    float next = largest;
#pragma unroll
    for (int j = 0; j < N; ++j) next = fmaxf(next, x[j]);
    if (next > largest) {
      sum *= expf(largest - next);
      largest = next;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) sum += expf(x[j] - largest);
  }
  float row_largest = WarpMax(largest);
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = row_largest;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kThreads / kWarpSize; ++i) row_largest = fmaxf(row_largest, scratch[i]);
  // A thread that met no logits holds -inf and 0.
  sum = BlockSum<kThreads>(sum == 0.f ? 0.f : sum * expf(largest - row_largest), scratch);
  if (threadIdx.x != 0) return;
  const float lse = row_largest + logf(sum);
  const int64_t target = p.targets[row];
  p.lse[row] = lse;
  p.token_loss[row] = target < 0 ? 0.f : target < p.vocab ? lse - logits[target] : nanf("");
}

template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) BwdKernel(CrossEntropyBwdParams<Io> p) {
  const int64_t row = blockIdx.x, target = p.targets[row];
  const float* logits = p.logits + row * p.vocab;
  Io* d_logits = p.d_logits + row * p.vocab;
  float d = p.d_loss == nullptr ? 0.f : static_cast<float>(*p.d_loss / p.denominator);
  if (p.d_token_loss != nullptr) d += p.d_token_loss[row];
  const float lse = p.lse[row];
  for (int64_t v = threadIdx.x * N; v < p.vocab; v += kThreads * N) {
    float x[N] = {};
    if (target >= 0) {
      LoadFloats(logits + v, x);
#pragma unroll
      for (int j = 0; j < N; ++j) x[j] = (expf(x[j] - lse) - (v + j == target ? 1.f : 0.f)) * d;
    }
    StoreFloats(d_logits + v, x);
  }
}

__global__ void __launch_bounds__(kMeanThreads)
    MeanKernel(const float* token_loss, int64_t num_rows, double denominator, float* loss) {
  __shared__ double sums[kMeanThreads];
  double sum = 0;
  for (int64_t t = threadIdx.x; t < num_rows; t += kMeanThreads) sum += token_loss[t];
  sums[threadIdx.x] = sum;
  for (int half = kMeanThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *loss = static_cast<float>(sums[0] / denominator);
}

}  // namespace

template <typename Io>
void CrossEntropyFwd(CudaTag, const CrossEntropyFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  const unsigned blocks = static_cast<unsigned>(p.num_rows);
  if (p.vocab % 4 == 0 && Aligned16(p.logits)) {
    FwdKernel<4><<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  } else {
    FwdKernel<1><<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  }
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void CrossEntropyBwd(CudaTag, const CrossEntropyBwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  const unsigned blocks = static_cast<unsigned>(p.num_rows);
  constexpr int N = kVecSize<Io>;
  if (p.vocab % N == 0 && Aligned16(p.logits, p.d_logits)) {
    BwdKernel<N><<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  } else {
    BwdKernel<1><<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  }
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void MeanLoss(CudaTag, const MeanLossParams<Io>& p) {
  MeanKernel<<<1, kMeanThreads, 0, ToStream(p.stream)>>>(p.token_loss, p.num_rows, p.denominator,
                                                         p.loss);
  CUDA_CHECK_LAUNCH();
}

template void CrossEntropyFwd(CudaTag, const CrossEntropyFwdParams<float>&);
template void CrossEntropyFwd(CudaTag, const CrossEntropyFwdParams<Bf16>&);
template void CrossEntropyBwd(CudaTag, const CrossEntropyBwdParams<float>&);
template void CrossEntropyBwd(CudaTag, const CrossEntropyBwdParams<Bf16>&);
template void MeanLoss(CudaTag, const MeanLossParams<float>&);
template void MeanLoss(CudaTag, const MeanLossParams<Bf16>&);

}  // namespace wyvern
