#include "kernels/pointwise/elementwise.h"

#include <cstring>

#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

template <typename To>
To Convert(double x);
template <>
double Convert<double>(double x) {
  return x;
}
template <>
float Convert<float>(double x) {
  return static_cast<float>(x);
}
template <>
Bf16 Convert<Bf16>(double x) {
  return ToBf16(static_cast<float>(x));
}

double ToDouble(double x) { return x; }
double ToDouble(float x) { return x; }
double ToDouble(Bf16 x) { return ToFloat(x); }

template <typename F>
void VisitFloat(DType dtype, F&& fn) {
  switch (dtype) {
    case DType::kFloat64:
      return fn(TypeTag<double>{});
    case DType::kFloat32:
      return fn(TypeTag<float>{});
    case DType::kBf16:
      return fn(TypeTag<Bf16>{});
    default:
      CHECK(false, "expected a floating type, got ", Name(dtype));
  }
}

}  // namespace

#ifdef WYVERN_CUDA
void CastCuda(void* to, DType to_dtype, const void* from, DType from_dtype, int64_t num_elements,
              StreamHandle stream);
void AddIntoCuda(void* y, DType y_dtype, const void* x, DType x_dtype, int64_t num_elements,
                 StreamHandle stream);
void ScaleCuda(void* y, DType y_dtype, const void* x, DType x_dtype, const void* s, bool add,
               int64_t num_elements, StreamHandle stream);
void FillCuda(void* y, DType dtype, double value, int64_t num_elements, StreamHandle stream);
void PutRowsCuda(void* to, int64_t to_stride, const int32_t* to_rows, const void* from,
                 int64_t from_stride, int64_t num_rows, int64_t row_bytes, StreamHandle stream);
#else
static void CastCuda(void*, DType, const void*, DType, int64_t, StreamHandle) {}
static void AddIntoCuda(void*, DType, const void*, DType, int64_t, StreamHandle) {}
static void ScaleCuda(void*, DType, const void*, DType, const void*, bool, int64_t, StreamHandle) {}
static void FillCuda(void*, DType, double, int64_t, StreamHandle) {}
static void PutRowsCuda(void*, int64_t, const int32_t*, const void*, int64_t, int64_t, int64_t,
                        StreamHandle) {}
#endif

void Cast(Device device, void* to, DType to_dtype, const void* from, DType from_dtype,
          int64_t num_elements, StreamHandle stream) {
  if (device == Device::kMeta) return;
  if (device == Device::kCuda) {
    return CastCuda(to, to_dtype, from, from_dtype, num_elements, stream);
  }
  VisitFloat(to_dtype, [&](auto to_tag) {
    VisitFloat(from_dtype, [&](auto from_tag) {
      using To = typename decltype(to_tag)::type;
      using From = typename decltype(from_tag)::type;
      const From* x = static_cast<const From*>(from);
      To* y = static_cast<To*>(to);
#pragma omp parallel for schedule(static) if (num_elements > 65536)
      for (int64_t i = 0; i < num_elements; ++i) y[i] = Convert<To>(ToDouble(x[i]));
    });
  });
}

void AddInto(Device device, void* y, DType y_dtype, const void* x, DType x_dtype,
             int64_t num_elements, StreamHandle stream) {
  if (device == Device::kMeta) return;
  if (device == Device::kCuda) {
    return AddIntoCuda(y, y_dtype, x, x_dtype, num_elements, stream);
  }
  VisitFloat(y_dtype, [&](auto y_tag) {
    VisitFloat(x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      const X* from = static_cast<const X*>(x);
      Y* to = static_cast<Y*>(y);
#pragma omp parallel for schedule(static) if (num_elements > 65536)
      for (int64_t i = 0; i < num_elements; ++i) {
        to[i] = Convert<Y>(ToDouble(to[i]) + ToDouble(from[i]));
      }
    });
  });
}

void Scale(Device device, void* y, DType y_dtype, const void* x, DType x_dtype, const void* s,
           bool add, int64_t num_elements, StreamHandle stream) {
  if (device == Device::kMeta) return;
  if (device == Device::kCuda) {
    return ScaleCuda(y, y_dtype, x, x_dtype, s, add, num_elements, stream);
  }
  VisitFloat(y_dtype, [&](auto y_tag) {
    VisitFloat(x_dtype, [&](auto x_tag) {
      using Y = typename decltype(y_tag)::type;
      using X = typename decltype(x_tag)::type;
      const X* from = static_cast<const X*>(x);
      Y* to = static_cast<Y*>(y);
      const double factor = ToDouble(*static_cast<const AccOf<X>*>(s));
#pragma omp parallel for schedule(static) if (num_elements > 65536)
      for (int64_t i = 0; i < num_elements; ++i) {
        to[i] = Convert<Y>((add ? ToDouble(to[i]) : 0) + factor * ToDouble(from[i]));
      }
    });
  });
}

void Fill(Device device, void* y, DType dtype, double value, int64_t num_elements,
          StreamHandle stream) {
  if (device == Device::kMeta) return;
  if (device == Device::kCuda) return FillCuda(y, dtype, value, num_elements, stream);
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = static_cast<T*>(y);
    const T converted = Convert<T>(value);
    for (int64_t i = 0; i < num_elements; ++i) to[i] = converted;
  });
}

void CopyRows(Device device, void* to, int64_t to_stride, const void* from, int64_t from_stride,
              int64_t num_rows, int64_t row_bytes, StreamHandle stream) {
  PutRows(device, to, to_stride, nullptr, from, from_stride, num_rows, row_bytes, stream);
}

void PutRows(Device device, void* to, int64_t to_stride, const int32_t* to_rows, const void* from,
             int64_t from_stride, int64_t num_rows, int64_t row_bytes, StreamHandle stream) {
  if (num_rows == 0 || row_bytes == 0 || device == Device::kMeta) return;
  if (device == Device::kCuda) {
    return PutRowsCuda(to, to_stride, to_rows, from, from_stride, num_rows, row_bytes, stream);
  }
#pragma omp parallel for schedule(static) if (num_rows * row_bytes > 262144)
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t to_row = to_rows == nullptr ? row : to_rows[row];
    std::memcpy(static_cast<char*>(to) + to_row * to_stride,
                static_cast<const char*>(from) + row * from_stride, row_bytes);
  }
}

}  // namespace wyvern
