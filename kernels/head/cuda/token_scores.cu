#include "kernels/common/common.cuh"
#include "kernels/head/token_scores.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

// fn(a, b) of all threads' values in a fixed order, for all of them. kThreads values of shared
// memory, which may be used again after a barrier.
template <class T, class F>
__device__ T ReduceBlock(T value, T* shared, F&& fn) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int stride = kThreads / 2; stride > 0; stride /= 2) {
    if (threadIdx.x < stride) {
      shared[threadIdx.x] = fn(shared[threadIdx.x], shared[threadIdx.x + stride]);
    }
    __syncthreads();
  }
  return shared[0];
}

struct Best {
  float logit;
  int token;  // -1: none yet
};

__device__ Best Likelier(const Best& a, const Best& b) {
  if (a.token < 0) return b;
  if (b.token < 0) return a;
  if (a.logit != b.logit) return a.logit > b.logit ? a : b;
  return a.token < b.token ? a : b;
}

// Block t has row t.
__global__ void __launch_bounds__(kThreads) ScoresKernel(TokenScoresParams p) {
  __shared__ Best bests[kThreads];
  __shared__ double sums[kThreads];
  const int64_t t = blockIdx.x;
  const int V = static_cast<int>(p.vocab_size);
  const float* logits = p.logits + t * V;
  Best best{0, -1};
  for (int i = threadIdx.x; i < V; i += kThreads) {
    if (!isnan(logits[i])) best = Likelier(best, {logits[i], i});
  }
  best = ReduceBlock(best, bests, [](const Best& a, const Best& b) { return Likelier(a, b); });
  const bool finite = best.token >= 0 && isfinite(best.logit);
  const double largest = best.logit;
  double sum = 0;
  for (int i = threadIdx.x; i < V && finite; i += kThreads) {
    if (!isnan(logits[i])) sum += exp(logits[i] - largest);
  }
  sum = ReduceBlock(sum, sums, [](double a, double b) { return a + b; });
  if (threadIdx.x != 0) return;
  const float own = logits[p.tokens[t]];
  p.most_likely[t] = finite ? best.token : -1;
  p.log_likelihood[t] =
      !finite ? 0 : (isnan(own) ? -static_cast<double>(INFINITY) : own - largest) - log(sum);
}

}  // namespace

void TokenScores(CudaTag, const TokenScoresParams& p) {
  if (p.num_rows == 0) return;
  ScoresKernel<<<static_cast<unsigned>(p.num_rows), kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern
