#include <cmath>

#include "kernels/attention/rope.h"
#include "kernels/common/vector.cuh"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 8;  // of a block, whose sines serve all heads
constexpr int kMaxPairs = 256;

struct Frequencies {
  double of[kMaxPairs];
};

// A block rotates kTokens tokens. A thread handles N pairs (i, i + R/2), or N elements that do not
// rotate, of one head at a time. x and y may be the same.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads)
    RotateKernel(RopeParams<Io> p, const __grid_constant__ Frequencies frequencies) {
  extern __shared__ __align__(16) float cosine[];  // [kTokens, R/2], then the sines
  const int half = static_cast<int>(p.rotary_dim / 2);
  float* const sine = cosine + kTokens * half;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTokens;
  const int num_tokens = static_cast<int>(min(int64_t{kTokens}, p.num_tokens - first));
  for (int at = threadIdx.x; at < kTokens * half; at += kThreads) {
    const int t = at % kTokens, i = at / kTokens;
    if (t >= num_tokens) continue;
    // Reduced in fp64, so fp32 sines of it are exact to rounding.
    const double angle = p.positions[first + t] * frequencies.of[i];
    constexpr double kTwoPi = 6.283185307179586476925;
    const float reduced = static_cast<float>(angle - rint(angle / kTwoPi) * kTwoPi);
    float s, c;
    sincosf(reduced, &s, &c);
    cosine[t * half + i] = c;
    sine[t * half + i] = p.inverse ? -s : s;
  }
  __syncthreads();
  const int pairs = half / N;
  const int items = pairs + static_cast<int>(p.head_dim - p.rotary_dim) / N;
  const int token_items = static_cast<int>(p.num_heads) * items;
  for (int at = threadIdx.x; at < num_tokens * token_items; at += kThreads) {
    const int t = at / token_items, h = (at - t * token_items) / items;
    const int item = at - t * token_items - h * items;
    const Io* x = p.x + (first + t) * p.x_stride + h * p.head_dim;
    Io* y = p.y + (first + t) * p.y_stride + h * p.head_dim;
    float a[N];
    if (item >= pairs) {
      int i = (item - pairs) * N;
      if (i >= p.rotary_begin) i += 2 * half;
      LoadFloats(x + i, a);
      StoreFloats(y + i, a);
      continue;
    }
    const int i = item * N;
    x += p.rotary_begin;
    y += p.rotary_begin;
    float b[N], c[N], s[N];
    LoadFloats(x + i, a);
    LoadFloats(x + half + i, b);
    LoadFloats(cosine + t * half + i, c);
    LoadFloats(sine + t * half + i, s);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float first_of_pair = a[j], second = b[j];
      a[j] = first_of_pair * c[j] - second * s[j];
      b[j] = second * c[j] + first_of_pair * s[j];
    }
    StoreFloats(y + i, a);
    StoreFloats(y + half + i, b);
  }
}

}  // namespace

template <typename Io>
void RopeRotate(CudaTag, const RopeParams<Io>& p) {
  const int64_t half = p.rotary_dim / 2;
  if (p.num_tokens * p.num_heads * p.head_dim == 0) return;
  CHECK(half <= kMaxPairs, "rotary_dim ", p.rotary_dim, "; at most ", 2 * kMaxPairs);
  Frequencies frequencies;
  for (int64_t i = 0; i < half; ++i) {
    frequencies.of[i] = std::pow(p.theta, -static_cast<double>(i) / static_cast<double>(half));
  }
  const auto blocks = static_cast<unsigned>(CeilDiv<int64_t>(p.num_tokens, kTokens));
  const size_t shared_bytes = 2 * kTokens * half * sizeof(float);
  constexpr int N = kVecSize<Io>;
  if (half % N == 0 && (p.head_dim | p.rotary_begin | p.x_stride | p.y_stride) % N == 0 &&
      Aligned16(p.x, p.y)) {
    RotateKernel<N><<<blocks, kThreads, shared_bytes, ToStream(p.stream)>>>(p, frequencies);
  } else {
    RotateKernel<1><<<blocks, kThreads, shared_bytes, ToStream(p.stream)>>>(p, frequencies);
  }
  CUDA_CHECK_LAUNCH();
}

template void RopeRotate(CudaTag, const RopeParams<float>&);
template void RopeRotate(CudaTag, const RopeParams<Bf16>&);

}  // namespace wyvern
