// Element-wise kernels and vector access: 16 bytes per access where addresses and sizes allow it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/common.cuh"

namespace wyvern {

template <typename T>
constexpr int kVecSize = 16 / sizeof(T);

template <typename... Pointers>
bool Aligned16(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// N elements at p, whose address is a multiple of min(16, N sizeof(T)), as floats.
template <int N, typename T>
__device__ __forceinline__ void LoadFloats(const T* p, float (&x)[N]) {
  constexpr int M = N < kVecSize<T> ? N : kVecSize<T>;
  static_assert(N % M == 0, "whole accesses");
#pragma unroll
  for (int begin = 0; begin < N; begin += M) {
    const Packed<T, M> packed = *reinterpret_cast<const Packed<T, M>*>(p + begin);  // one access
    Unpack<T>(packed, reinterpret_cast<float(&)[M]>(x[begin]));
  }
}
template <int N, typename T>
__device__ __forceinline__ void StoreFloats(T* p, const float (&x)[N]) {
  constexpr int M = N < kVecSize<T> ? N : kVecSize<T>;
  static_assert(N % M == 0, "whole accesses");
#pragma unroll
  for (int begin = 0; begin < N; begin += M) {
    *reinterpret_cast<Packed<T, M>*>(p + begin) =
        Pack<T>(reinterpret_cast<const float(&)[M]>(x[begin]));
  }
}

// For values that come from and go to Io. The approximations' errors, of some 1e-6, are lost in
// bf16's rounding.
template <typename Io>
__device__ __forceinline__ float SigmoidDevice(float x) {
  if constexpr (sizeof(Io) == 2) return ReciprocalApprox(1.f + Exp2Approx(-1.44269504f * x));
  return __fdividef(1.f, 1.f + expf(-x));
}
// d/dx of x sigmoid(x).
template <typename Io>
__device__ __forceinline__ float SiluSlopeDevice(float x) {
  const float s = SigmoidDevice<Io>(x);
  return s + x * s * (1.f - s);
}

constexpr int kMapThreads = 256;

// f.template At<N>(i) for elements [i, i + N) of [0, n).
template <int N, typename F>
__global__ void __launch_bounds__(kMapThreads) MapKernel(F f, int64_t n) {
  int64_t i = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (i + N <= n) {
    f.template At<N>(i);
  } else {
    for (; i < n; ++i) f.template At<1>(i);
  }
}

// Elements of type T are visited kVecSize<T> at a time if `vectorise`, which requires that every
// array of f is aligned to that many of its elements, up to 16 bytes.
template <typename T, typename F>
void LaunchMap(const F& f, int64_t n, bool vectorise, StreamHandle stream) {
  if (n == 0) return;
  constexpr int N = kVecSize<T>;
  const int64_t per_block = static_cast<int64_t>(kMapThreads) * (vectorise ? N : 1);
  const unsigned blocks = static_cast<unsigned>(CeilDiv<int64_t>(n, per_block));
  if (vectorise) {
    MapKernel<N><<<blocks, kMapThreads, 0, ToStream(stream)>>>(f, n);
  } else {
    MapKernel<1><<<blocks, kMapThreads, 0, ToStream(stream)>>>(f, n);
  }
  CUDA_CHECK_LAUNCH();
}

// Elements per access for a warp that shares rows of `dim` elements: as wide as keeps all lanes
// busy. fn takes the width as an integral_constant.
template <typename Io, typename F>
void VisitRowVec(int64_t dim, bool aligned, F&& fn) {
  const auto fits = [&](int n) { return aligned && dim % n == 0 && dim >= kWarpSize * n; };
  if constexpr (sizeof(Io) == 2) {
    if (fits(8)) return fn(std::integral_constant<int, 8>());
  }
  if (fits(4)) return fn(std::integral_constant<int, 4>());
  if (fits(2)) return fn(std::integral_constant<int, 2>());
  fn(std::integral_constant<int, 1>());
}

}  // namespace wyvern
