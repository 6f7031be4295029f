#include "kernels/cuda/common.cuh"
#include "kernels/ops/elementwise.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

template <typename T>
__device__ double ToDoubleDevice(T x) {
  return ToFloatDevice(x);
}
__device__ double ToDoubleDevice(double x) { return x; }
template <typename T>
__device__ T FromDoubleDevice(double x) {
  return FromFloatDevice<T>(static_cast<float>(x));
}
template <>
__device__ double FromDoubleDevice<double>(double x) {
  return x;
}

template <typename To, typename From>
__global__ void CastKernel(To* to, const From* from, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) to[i] = FromDoubleDevice<To>(ToDoubleDevice(from[i]));
}
template <>
__global__ void CastKernel<Bf16, float>(Bf16* to, const float* from, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) to[i] = FromFloatDevice<Bf16>(from[i]);
}

template <typename Y, typename X>
__global__ void AddIntoKernel(Y* y, const X* x, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) y[i] = FromFloatDevice<Y>(ToFloatDevice(y[i]) + ToFloatDevice(x[i]));
}

template <typename T>
__global__ void FillKernel(T* y, T value, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) y[i] = value;
}

unsigned Blocks(int64_t n) { return static_cast<unsigned>(CeilDiv<int64_t>(n, kThreads)); }

template <typename F>
void VisitFloat(DType dtype, F&& fn) {
  if (dtype == DType::kFloat32) return fn(TypeTag<float>{});
  if (dtype == DType::kBf16) return fn(TypeTag<Bf16>{});
  CHECK(false, "expected fp32 or bf16 on the GPU, got ", Name(dtype));
}

}  // namespace

void CastCuda(void* to, DType to_dtype, const void* from, DType from_dtype, int64_t num_elements,
              StreamHandle stream) {
  if (num_elements == 0) return;
  const auto launch = [&](auto to_tag, auto from_tag) {
    using To = typename decltype(to_tag)::type;
    using From = typename decltype(from_tag)::type;
    CastKernel<<<Blocks(num_elements), kThreads, 0, ToStream(stream)>>>(
        static_cast<To*>(to), static_cast<const From*>(from), num_elements);
    CUDA_CHECK_LAUNCH();
  };
  const auto with_from = [&](auto to_tag) {
    if (from_dtype == DType::kFloat64) return launch(to_tag, TypeTag<double>{});
    VisitFloat(from_dtype, [&](auto from_tag) { launch(to_tag, from_tag); });
  };
  if (to_dtype == DType::kFloat64) return with_from(TypeTag<double>{});
  VisitFloat(to_dtype, with_from);
}

void AddIntoCuda(void* y, DType y_dtype, const void* x, DType x_dtype, int64_t num_elements,
                 StreamHandle stream) {
  if (num_elements == 0) return;
  VisitFloat(y_dtype, [&](auto y_tag) {
    VisitFloat(x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      AddIntoKernel<<<Blocks(num_elements), kThreads, 0, ToStream(stream)>>>(
          static_cast<Y*>(y), static_cast<const X*>(x), num_elements);
      CUDA_CHECK_LAUNCH();
    });
  });
}

void FillCuda(void* y, DType dtype, double value, int64_t num_elements, StreamHandle stream) {
  if (num_elements == 0) return;
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T converted;
    if constexpr (std::is_same_v<T, Bf16>) {
      converted = ToBf16(static_cast<float>(value));
    } else {
      converted = static_cast<T>(value);
    }
    FillKernel<<<Blocks(num_elements), kThreads, 0, ToStream(stream)>>>(static_cast<T*>(y),
                                                                        converted, num_elements);
    CUDA_CHECK_LAUNCH();
  });
}

}  // namespace wyvern
