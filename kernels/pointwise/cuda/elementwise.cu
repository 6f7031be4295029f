#include <type_traits>

#include "kernels/common/vector.cuh"
#include "kernels/pointwise/elementwise.h"

namespace wyvern {
namespace {

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

template <typename T>
constexpr bool kIsDouble = std::is_same_v<T, double>;

// Between fp32 and bf16.
template <typename To, typename From>
struct CastMap {
  To* to;
  const From* from;
  template <int N>
  __device__ void At(int64_t i) const {
    float x[N];
    LoadFloats(from + i, x);
    StoreFloats(to + i, x);
  }
};

// Where either side is fp64: one element at a time.
template <typename To, typename From>
struct DoubleCastMap {
  To* to;
  const From* from;
  template <int N>
  __device__ void At(int64_t i) const {
#pragma unroll
    for (int j = 0; j < N; ++j) to[i + j] = FromDoubleDevice<To>(ToDoubleDevice(from[i + j]));
  }
};

template <typename Y, typename X>
struct AddIntoMap {
  Y* y;
  const X* x;
  template <int N>
  __device__ void At(int64_t i) const {
    float sum[N], term[N];
    LoadFloats(y + i, sum);
    LoadFloats(x + i, term);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += term[j];
    StoreFloats(y + i, sum);
  }
};

template <bool kAdd, typename Y, typename X>
struct ScaleMap {
  Y* y;
  const X* x;
  const float* s;
  template <int N>
  __device__ void At(int64_t i) const {
    const float factor = *s;
    float term[N], sum[N] = {};
    LoadFloats(x + i, term);
    if constexpr (kAdd) LoadFloats(y + i, sum);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += factor * term[j];
    StoreFloats(y + i, sum);
  }
};

template <typename T>
struct FillMap {
  T* y;
  float value;
  template <int N>
  __device__ void At(int64_t i) const {
    float values[N];
#pragma unroll
    for (int j = 0; j < N; ++j) values[j] = value;
    StoreFloats(y + i, values);
  }
};

constexpr int kCopyThreads = 256;

// A thread copies one Unit; rows are given in units. Without to_rows, row i goes to row i.
template <typename Unit>
__global__ void __launch_bounds__(kCopyThreads)
    PutRowsKernel(Unit* to, int64_t to_stride, const int32_t* to_rows, const Unit* from,
                  int64_t from_stride, int64_t num_rows, unsigned row_units) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kCopyThreads + threadIdx.x;
  const int64_t row = at / row_units;
  if (row >= num_rows) return;
  const int64_t i = at - row * row_units;
  const int64_t to_row = to_rows == nullptr ? row : to_rows[row];
  to[to_row * to_stride + i] = from[row * from_stride + i];
}

template <typename F>
void VisitFloat(DType dtype, F&& fn) {
  if (dtype == DType::kFloat32) return fn(TypeTag<float>{});
  if (dtype == DType::kBf16) return fn(TypeTag<Bf16>{});
  CHECK(false, "expected fp32 or bf16 on the GPU, got ", Name(dtype));
}

}  // namespace

void CastCuda(void* to, DType to_dtype, const void* from, DType from_dtype, int64_t num_elements,
              StreamHandle stream) {
  const auto launch = [&](auto to_tag, auto from_tag) {
    using To = typename decltype(to_tag)::type;
    using From = typename decltype(from_tag)::type;
    To* y = static_cast<To*>(to);
    const From* x = static_cast<const From*>(from);
    if constexpr (kIsDouble<To> || kIsDouble<From>) {
      LaunchMap<double>(DoubleCastMap<To, From>{y, x}, num_elements, false, stream);
    } else {
      using Narrow = std::conditional_t<sizeof(To) < sizeof(From), To, From>;
      LaunchMap<Narrow>(CastMap<To, From>{y, x}, num_elements, Aligned16(y, x), stream);
    }
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
  VisitFloat(y_dtype, [&](auto y_tag) {
    VisitFloat(x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      using Narrow = std::conditional_t<sizeof(Y) < sizeof(X), Y, X>;
      LaunchMap<Narrow>(AddIntoMap<Y, X>{static_cast<Y*>(y), static_cast<const X*>(x)},
                        num_elements, Aligned16(y, x), stream);
    });
  });
}

void ScaleCuda(void* y, DType y_dtype, const void* x, DType x_dtype, const void* s, bool add,
               int64_t num_elements, StreamHandle stream) {
  VisitFloat(y_dtype, [&](auto y_tag) {
    VisitFloat(x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      using Narrow = std::conditional_t<sizeof(Y) < sizeof(X), Y, X>;
      const auto launch = [&](auto adding) {
        const ScaleMap<decltype(adding)::value, Y, X> map{
            static_cast<Y*>(y), static_cast<const X*>(x), static_cast<const float*>(s)};
        LaunchMap<Narrow>(map, num_elements, Aligned16(y, x), stream);
      };
      if (add) {
        launch(std::true_type{});
      } else {
        launch(std::false_type{});
      }
    });
  });
}

void FillCuda(void* y, DType dtype, double value, int64_t num_elements, StreamHandle stream) {
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    LaunchMap<T>(FillMap<T>{static_cast<T*>(y), static_cast<float>(value)}, num_elements,
                 Aligned16(y), stream);
  });
}

void PutRowsCuda(void* to, int64_t to_stride, const int32_t* to_rows, const void* from,
                 int64_t from_stride, int64_t num_rows, int64_t row_bytes, StreamHandle stream) {
  const auto launch = [&](auto unit) {
    using Unit = decltype(unit);
    constexpr int64_t kSize = sizeof(Unit);
    const int64_t units = num_rows * (row_bytes / kSize);
    PutRowsKernel<Unit><<<static_cast<unsigned>(CeilDiv<int64_t>(units, kCopyThreads)),
                          kCopyThreads, 0, ToStream(stream)>>>(
        static_cast<Unit*>(to), to_stride / kSize, to_rows, static_cast<const Unit*>(from),
        from_stride / kSize, num_rows, static_cast<unsigned>(row_bytes / kSize));
    CUDA_CHECK_LAUNCH();
  };
  const int64_t all = to_stride | from_stride | row_bytes |
                      static_cast<int64_t>(reinterpret_cast<uintptr_t>(to)) |
                      static_cast<int64_t>(reinterpret_cast<uintptr_t>(from));
  if (all % 16 == 0) return launch(uint4());
  if (all % 4 == 0) return launch(uint32_t());
  if (all % 2 == 0) return launch(uint16_t());
  launch(uint8_t());
}

}  // namespace wyvern
