#include "kernels/cuda/vector.cuh"
#include "kernels/ops/rope.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

// cosine, sine [T, R/2]. The angle is reduced in fp64, so fp32 sines of it are exact to rounding.
__global__ void __launch_bounds__(kThreads)
    TableKernel(const int32_t* positions, int64_t num_tokens, int half, double theta, bool inverse,
                float* cosine, float* sine) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= num_tokens * half) return;
  const double frequency = pow(theta, -static_cast<double>(at % half) / half);
  const double angle = positions[at / half] * frequency;
  constexpr double kTwoPi = 6.283185307179586476925;
  const float reduced = static_cast<float>(angle - rint(angle / kTwoPi) * kTwoPi);
  float s, c;
  sincosf(reduced, &s, &c);
  cosine[at] = c;
  sine[at] = inverse ? -s : s;
}

// A thread handles N pairs (i, i + R/2), or N elements past R, of one head.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads)
    RotateKernel(RopeParams<Io> p, const float* __restrict__ cosine,
                 const float* __restrict__ sine) {
  const int half = static_cast<int>(p.rotary_dim / 2);
  const int pair_items = half / N;
  const int items = pair_items + static_cast<int>(p.head_dim - p.rotary_dim) / N;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t head = at / items;
  if (head >= p.num_tokens * p.num_heads) return;
  const int item = static_cast<int>(at - head * items);
  const int64_t t = head / p.num_heads, h = head - t * p.num_heads;
  const Io* x = p.x + t * p.x_stride + h * p.head_dim;
  Io* y = p.y + t * p.y_stride + h * p.head_dim;
  float a[N];
  if (item >= pair_items) {
    const int i = 2 * half + (item - pair_items) * N;
    LoadFloats(x + i, a);
    StoreFloats(y + i, a);
    return;
  }
  const int i = item * N;
  float b[N], c[N], s[N];
  LoadFloats(x + i, a);
  LoadFloats(x + half + i, b);
  LoadFloats(cosine + t * half + i, c);
  LoadFloats(sine + t * half + i, s);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float first = a[j], second = b[j];
    a[j] = first * c[j] - second * s[j];
    b[j] = second * c[j] + first * s[j];
  }
  StoreFloats(y + i, a);
  StoreFloats(y + half + i, b);
}

}  // namespace

template <typename Io>
void RopeRotate(CudaTag, const RopeParams<Io>& p) {
  const int64_t half = p.rotary_dim / 2, heads = p.num_tokens * p.num_heads;
  if (heads == 0 || p.head_dim == 0) return;
  const cudaStream_t stream = ToStream(p.stream);
  const int64_t table_size = p.num_tokens * half;
  const Buffer cosine(Device::kCuda, table_size * sizeof(float));
  const Buffer sine(Device::kCuda, table_size * sizeof(float));
  if (table_size > 0) {
    TableKernel<<<static_cast<unsigned>(CeilDiv<int64_t>(table_size, kThreads)), kThreads, 0,
                  stream>>>(p.positions, p.num_tokens, static_cast<int>(half), p.theta, p.inverse,
                            cosine.as<float>(), sine.as<float>());
    CUDA_CHECK_LAUNCH();
  }
  const auto rotate = [&](auto n) {
    constexpr int N = decltype(n)::value;
    const int64_t items = heads * ((half + p.head_dim - p.rotary_dim) / N);
    RotateKernel<N>
        <<<static_cast<unsigned>(CeilDiv<int64_t>(items, kThreads)), kThreads, 0, stream>>>(
            p, cosine.as<float>(), sine.as<float>());
    CUDA_CHECK_LAUNCH();
  };
  constexpr int N = kVecSize<Io>;
  if (half % N == 0 && (p.head_dim | p.x_stride | p.y_stride) % N == 0 && Aligned16(p.x, p.y)) {
    rotate(std::integral_constant<int, N>());
  } else {
    rotate(std::integral_constant<int, 1>());
  }
}

template void RopeRotate(CudaTag, const RopeParams<float>&);
template void RopeRotate(CudaTag, const RopeParams<Bf16>&);

}  // namespace wyvern
