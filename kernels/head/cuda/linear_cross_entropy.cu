#include "kernels/common/vector.cuh"
#include "kernels/head/linear_cross_entropy.h"

namespace wyvern {
namespace {

constexpr int kThreads = 512;
constexpr int kMeanThreads = 1024;

// In bf16 the exponent's own rounding, 2^-24 of its size, is far below that of the gradient.
template <typename Io>
__device__ __forceinline__ float ExpDevice(float x) {
  if constexpr (sizeof(Io) == 2) return __expf(x);
  return expf(x);
}

// The largest logit met and the sum of exponentials relative to it.
struct Softmax {
  float largest = -INFINITY, sum = 0;

  template <typename Io, int N>
  __device__ __forceinline__ void Add(const float (&x)[N]) {
    float next = largest;
#pragma unroll
    for (int j = 0; j < N; ++j) next = fmaxf(next, x[j]);
    if (next > largest) {
      sum *= ExpDevice<Io>(largest - next);
      largest = next;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) sum += ExpDevice<Io>(x[j] - largest);
  }
};

// A block per row. With kGradient the row is walked twice: kHeld vectors of each thread stay in
// registers in between, so that what is read again is still in L2.
template <bool kGradient, int N, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(CrossEntropyFwdParams<Io> p) {
  constexpr int kHeld = kGradient ? 32 / N : 1;
  constexpr int64_t kStride = kThreads * N;
  __shared__ float scratch[kThreads / kWarpSize];
  const int64_t row = blockIdx.x, first = static_cast<int64_t>(threadIdx.x) * N;
  const float* logits = p.logits + row * p.vocab;
  float held[kHeld][N];
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int64_t v = first + i * kStride;
    if (v < p.vocab) LoadFloats(logits + v, held[i]);
  }
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (first + i * kStride < p.vocab) softmax.Add<Io>(held[i]);
  }
#pragma unroll 2
  for (int64_t v = first + kHeld * kStride; v < p.vocab; v += kStride) {
    float x[N];
    LoadFloats(logits + v, x);
    softmax.Add<Io>(x);
  }
  float row_largest = WarpMax(softmax.largest);
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = row_largest;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kThreads / kWarpSize; ++i) row_largest = fmaxf(row_largest, scratch[i]);
  // A thread that met no logits holds -inf and 0.
  const float part =
      softmax.sum == 0.f ? 0.f : softmax.sum * ExpDevice<Io>(softmax.largest - row_largest);
  const float lse = row_largest + logf(BlockSum<kThreads>(part, scratch));
  const int64_t target = p.targets[row];
  if (threadIdx.x == 0) {
    p.lse[row] = lse;
    p.token_loss[row] = target < 0 ? 0.f : target < p.vocab ? lse - logits[target] : nanf("");
  }
  if constexpr (kGradient) {
    Io* d_logits = p.d_logits + row * p.vocab;
    const float d = static_cast<float>(1 / p.denominator);
    const auto write = [&](int64_t v, float(&x)[N]) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float probability = ExpDevice<Io>(x[j] - lse);
        x[j] = target < 0 ? 0.f : (probability - (v + j == target ? 1.f : 0.f)) * d;
      }
      StoreFloats(d_logits + v, x);
    };
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int64_t v = first + i * kStride;
      if (v < p.vocab) write(v, held[i]);
    }
#pragma unroll 2
    for (int64_t v = first + kHeld * kStride; v < p.vocab; v += kStride) {
      float x[N];
      LoadFloats(logits + v, x);
      write(v, x);
    }
  }
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
  constexpr int N = kVecSize<Io>;
  const bool vectors = p.vocab % N == 0 && Aligned16(p.logits, p.d_logits);
  const auto launch = [&](auto kernel) { kernel<<<blocks, kThreads, 0, ToStream(p.stream)>>>(p); };
  if (p.d_logits == nullptr) {
    launch(vectors ? FwdKernel<false, N, Io> : FwdKernel<false, 1, Io>);
  } else {
    launch(vectors ? FwdKernel<true, N, Io> : FwdKernel<true, 1, Io>);
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
