// Helpers of every CUDA source: conversions, vector access, warp and block reductions.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {

inline cudaStream_t ToStream(StreamHandle stream) { return static_cast<cudaStream_t>(stream); }

constexpr int kWarpSize = 32;

template <typename Int>
__host__ __device__ constexpr Int CeilDiv(Int a, Int b) {
  return (a + b - 1) / b;
}

__device__ __forceinline__ float ToFloatDevice(float x) { return x; }
__device__ __forceinline__ float ToFloatDevice(Bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
template <typename T>
__device__ __forceinline__ T FromFloatDevice(float x);
template <>
__device__ __forceinline__ float FromFloatDevice<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ Bf16 FromFloatDevice<Bf16>(float x) {
  return Bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

// Two bf16 in one word, the first in its low half.
__device__ __forceinline__ uint32_t PackBf16Device(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return static_cast<uint32_t>(__bfloat16_as_ushort(pair.y)) << 16 | __bfloat16_as_ushort(pair.x);
}

// 2^x and 1/x to some 1e-7 of the result; denormal results are zero.
__device__ __forceinline__ float Exp2Approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float ReciprocalApprox(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// N elements moved by one instruction of at most 16 bytes.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};

// The same as they are handled in registers: two bf16 to a word, so that they are neither moved nor
// stored one by one.
template <typename T, int N>
using Packed =
    std::conditional_t<sizeof(T) == 2 && N % 2 == 0, Vec<uint32_t, (N + 1) / 2>, Vec<T, N>>;

template <typename T, int N>
__device__ __forceinline__ void Unpack(const Packed<T, N>& packed, float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if constexpr (sizeof(T) == 2 && N % 2 == 0) {
      const uint32_t pair = packed.v[i / 2];
      x[i] = __uint_as_float(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    } else {
      x[i] = ToFloatDevice(packed.v[i]);
    }
  }
}
template <typename T, int N>
__device__ __forceinline__ Packed<T, N> Pack(const float (&x)[N]) {
  Packed<T, N> packed;
  if constexpr (sizeof(T) == 2 && N % 2 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      packed.v[i / 2] = PackBf16Device(x[i], x[i + 1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) packed.v[i] = FromFloatDevice<T>(x[i]);
  }
  return packed;
}

// Sum over the 32 lanes, the same value and order in every lane.
__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

__device__ __forceinline__ float WarpMax(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  }
  return x;
}

// Sum over a block of kThreads (a multiple of 32, at most 1024), the same in every thread.
// `scratch` holds kThreads / 32 floats of shared memory.
template <int kThreads>
__device__ __forceinline__ float BlockSum(float x, float* scratch) {
  constexpr int kWarps = kThreads / kWarpSize;
  x = WarpSum(x);
  if constexpr (kWarps == 1) return x;
  __syncthreads();  // scratch may still be read from an earlier call
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += scratch[i];
  return sum;
}

}  // namespace wyvern
