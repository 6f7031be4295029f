#include <algorithm>

#include "kernels/moe/cuda/top_experts.cuh"
#include "kernels/moe/moe_balance.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kSumThreads = 1024;
constexpr int64_t kMaxExperts = 1024;

__device__ __forceinline__ int64_t TokenOfWarp() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
}

// n with cu_seqlens[n] <= t < cu_seqlens[n + 1].
__device__ __forceinline__ int64_t DocumentOf(const int32_t* cu_seqlens, int64_t documents,
                                              int64_t t) {
  int64_t low = 0, high = documents;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (cu_seqlens[middle] <= t) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// A warp to a token. Sums of integers are the same in any order.
template <int kPer>
__global__ void __launch_bounds__(kThreads)
    CountKernel(MoeBalanceFwdParams<float> p, int32_t* counts) {
  const int64_t t = TokenOfWarp();
  if (t >= p.num_tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  uint32_t keys[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + kWarpSize * i;
    keys[i] = e < p.num_experts ? KeyOf(p.scores[t * p.num_experts + e]) : kNoKey;
  }
  int32_t* const to = counts + DocumentOf(p.cu_seqlens, p.num_documents, t) * p.num_experts;
  for (int64_t j = 0; j < p.experts_per_token; ++j) {
    const int chosen = TakeBest(keys).number;
    if (lane == 0) atomicAdd(to + chosen, 1);
  }
}

// A block to a document.
__global__ void __launch_bounds__(kThreads)
    FractionsKernel(MoeBalanceFwdParams<float> p, const int32_t* counts) {
  const int64_t n = blockIdx.x;
  const int64_t tokens = p.cu_seqlens[n + 1] - p.cu_seqlens[n];
  const float unit = static_cast<float>(p.num_experts) /
                     static_cast<float>(p.experts_per_token * max(int64_t{1}, tokens));
  for (int64_t e = threadIdx.x; e < p.num_experts; e += kThreads) {
    p.fractions[n * p.num_experts + e] = static_cast<float>(counts[n * p.num_experts + e]) * unit;
  }
}

// sum and weighted = sums over e of s[t, e] and f[e] s[t, e].
struct TokenSums {
  float sum = 0, weighted = 0;
};
__device__ __forceinline__ TokenSums SumToken(const float* scores, const float* fractions,
                                              int64_t num_experts) {
  TokenSums r;
  for (int64_t e = threadIdx.x % kWarpSize; e < num_experts; e += kWarpSize) {
    r.sum += scores[e];
    r.weighted = fmaf(fractions[e], scores[e], r.weighted);
  }
  return {WarpSum(r.sum), WarpSum(r.weighted)};
}

__global__ void __launch_bounds__(kThreads)
    TermsKernel(MoeBalanceFwdParams<float> p, float* terms) {
  const int64_t t = TokenOfWarp(), E = p.num_experts;
  if (t >= p.num_tokens) return;
  const int64_t n = DocumentOf(p.cu_seqlens, p.num_documents, t);
  const TokenSums r = SumToken(p.scores + t * E, p.fractions + n * E, E);
  if (threadIdx.x % kWarpSize == 0) terms[t] = r.weighted / r.sum;
}

__global__ void __launch_bounds__(kSumThreads)
    SumKernel(const float* terms, int64_t num_tokens, double factor, float* loss) {
  __shared__ double sums[kSumThreads];
  double sum = 0;
  for (int64_t t = threadIdx.x; t < num_tokens; t += kSumThreads) sum += terms[t];
  sums[threadIdx.x] = sum;
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *loss = static_cast<float>(factor * sums[0]);
}

__global__ void __launch_bounds__(kThreads) BwdKernel(MoeBalanceBwdParams<float> p) {
  const int64_t t = TokenOfWarp(), E = p.num_experts;
  if (t >= p.num_tokens) return;
  const float* const fractions = p.fractions + DocumentOf(p.cu_seqlens, p.num_documents, t) * E;
  const TokenSums r = SumToken(p.scores + t * E, fractions, E);
  const float factor = static_cast<float>(p.factor) * *p.d_loss, mean = r.weighted / r.sum;
  for (int64_t e = threadIdx.x % kWarpSize; e < E; e += kWarpSize) {
    p.d_scores[t * E + e] = factor * (fractions[e] - mean) / r.sum;
  }
}

unsigned Blocks(int64_t tokens) { return static_cast<unsigned>(CeilDiv<int64_t>(tokens, kWarps)); }

}  // namespace

template <typename Acc>
void MoeBalanceFwd(CudaTag, const MoeBalanceFwdParams<Acc>& p) {
  CHECK(p.num_experts >= 1 && p.num_experts <= kMaxExperts, p.num_experts, " experts");
  const cudaStream_t stream = ToStream(p.stream);
  const int64_t count_bytes = p.num_documents * p.num_experts * sizeof(int32_t);
  const Buffer counts(Device::kCuda, count_bytes);
  const Buffer terms(Device::kCuda, p.num_tokens * sizeof(float));
  if (p.num_documents > 0) {
    CUDA_CHECK(cudaMemsetAsync(counts.data(), 0, count_bytes, stream));
    if (p.num_tokens > 0) {
      VisitPer(p.num_experts, [&](auto per) {
        CountKernel<decltype(per)::value>
            <<<Blocks(p.num_tokens), kThreads, 0, stream>>>(p, counts.as<int32_t>());
      });
      CUDA_CHECK_LAUNCH();
    }
    FractionsKernel<<<static_cast<unsigned>(p.num_documents), kThreads, 0, stream>>>(
        p, counts.as<int32_t>());
    CUDA_CHECK_LAUNCH();
    if (p.num_tokens > 0) {
      TermsKernel<<<Blocks(p.num_tokens), kThreads, 0, stream>>>(p, terms.as<float>());
      CUDA_CHECK_LAUNCH();
    }
  }
  SumKernel<<<1, kSumThreads, 0, stream>>>(terms.as<float>(), p.num_tokens, p.factor, p.loss);
  CUDA_CHECK_LAUNCH();
}

template <typename Acc>
void MoeBalanceBwd(CudaTag, const MoeBalanceBwdParams<Acc>& p) {
  if (p.num_tokens == 0) return;
  BwdKernel<<<Blocks(p.num_tokens), kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

template void MoeBalanceFwd(CudaTag, const MoeBalanceFwdParams<float>&);
template void MoeBalanceBwd(CudaTag, const MoeBalanceBwdParams<float>&);

}  // namespace wyvern
