#include "kernels/attention/mla_keys.h"
#include "kernels/common/vector.cuh"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

// One block a token, N elements a thread at a time.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) ForwardKernel(MlaKeysFwdParams<Io> p) {
  const MlaKeysShape& s = p.shape;
  const int H = static_cast<int>(s.num_heads), P = static_cast<int>(s.own_dim) / N,
            D = P + static_cast<int>(s.shared_dim) / N;
  const int64_t t = blockIdx.x;
  const Io* own = p.own + t * s.own_stride;
  const Io* shared = p.shared + t * s.shared_stride;
  Io* k = p.k + t * H * D * N;
  for (int i = static_cast<int>(threadIdx.x); i < H * D; i += kThreads) {
    const int h = i / D, j = i - h * D;
    float x[N];
    LoadFloats(j < P ? own + (h * P + j) * N : shared + (j - P) * N, x);
    StoreFloats(k + i * N, x);
  }
}

template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) BackwardKernel(MlaKeysBwdParams<Io> p) {
  const MlaKeysShape& s = p.shape;
  const int H = static_cast<int>(s.num_heads), P = static_cast<int>(s.own_dim) / N,
            R = static_cast<int>(s.shared_dim) / N, D = P + R;
  const int64_t t = blockIdx.x;
  const Io* dk = p.dk + t * H * D * N;
  // The sums first: they are the longest chains of the block.
  for (int j = static_cast<int>(threadIdx.x); j < R; j += kThreads) {
    float sum[N] = {};
#pragma unroll 8
    for (int h = 0; h < H; ++h) {
      float x[N];
      LoadFloats(dk + (h * D + P + j) * N, x);
#pragma unroll
      for (int e = 0; e < N; ++e) sum[e] += x[e];
    }
    StoreFloats(p.d_shared + t * s.shared_stride + j * N, sum);
  }
  for (int i = static_cast<int>(threadIdx.x); i < H * P; i += kThreads) {
    const int h = i / P, j = i - h * P;
    float x[N];
    LoadFloats(dk + (h * D + j) * N, x);
    StoreFloats(p.d_own + t * s.own_stride + i * N, x);
  }
}

template <typename Io, typename... Pointers>
bool Vectors(const MlaKeysShape& s, const Pointers*... pointers) {
  return (s.own_dim | s.shared_dim | s.own_stride | s.shared_stride) % kVecSize<Io> == 0 &&
         Aligned16(pointers...);
}

}  // namespace

template <typename Io>
void MlaKeysFwd(CudaTag, const MlaKeysFwdParams<Io>& p) {
  const auto tokens = static_cast<unsigned>(p.shape.num_tokens);
  if (tokens == 0) return;
  if (Vectors<Io>(p.shape, p.own, p.shared, p.k)) {
    ForwardKernel<kVecSize<Io>><<<tokens, kThreads, 0, ToStream(p.stream)>>>(p);
  } else {
    ForwardKernel<1><<<tokens, kThreads, 0, ToStream(p.stream)>>>(p);
  }
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void MlaKeysBwd(CudaTag, const MlaKeysBwdParams<Io>& p) {
  const auto tokens = static_cast<unsigned>(p.shape.num_tokens);
  if (tokens == 0) return;
  if (Vectors<Io>(p.shape, p.dk, p.d_own, p.d_shared)) {
    BackwardKernel<kVecSize<Io>><<<tokens, kThreads, 0, ToStream(p.stream)>>>(p);
  } else {
    BackwardKernel<1><<<tokens, kThreads, 0, ToStream(p.stream)>>>(p);
  }
  CUDA_CHECK_LAUNCH();
}

template void MlaKeysFwd(CudaTag, const MlaKeysFwdParams<float>&);
template void MlaKeysFwd(CudaTag, const MlaKeysFwdParams<Bf16>&);
template void MlaKeysBwd(CudaTag, const MlaKeysBwdParams<float>&);
template void MlaKeysBwd(CudaTag, const MlaKeysBwdParams<Bf16>&);

}  // namespace wyvern
