// Element types. Plain C++17: CUDA sources include it too.
#ifndef WYVERN_KERNELS_RUNTIME_DTYPE_H_
#define WYVERN_KERNELS_RUNTIME_DTYPE_H_

#include <cstdint>
#include <cstring>

namespace wyvern {

// Storage form of bfloat16: the high half of a float. Kernels on the device reinterpret it as
// __nv_bfloat16; on the host only conversions are defined, never arithmetic.
struct Bf16 {
  uint16_t bits;
};

inline float ToFloat(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// Rounds to nearest even; NaN stays NaN.
inline Bf16 ToBf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return Bf16{static_cast<uint16_t>((bits >> 16) | 0x40u)};
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return Bf16{static_cast<uint16_t>(bits >> 16)};
}

enum class DType { kFloat64, kFloat32, kBf16, kInt32, kInt64, kUint8 };

constexpr int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
    case DType::kInt64:
      return 8;
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBf16:
      return 2;
    case DType::kUint8:
      return 1;
  }
  return 0;
}

constexpr const char* Name(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return "fp64";
    case DType::kFloat32:
      return "fp32";
    case DType::kBf16:
      return "bf16";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kUint8:
      return "uint8";
  }
  return "?";
}

template <typename T>
struct DTypeOfT;
template <>
struct DTypeOfT<double> {
  static constexpr DType value = DType::kFloat64;
};
template <>
struct DTypeOfT<float> {
  static constexpr DType value = DType::kFloat32;
};
template <>
struct DTypeOfT<Bf16> {
  static constexpr DType value = DType::kBf16;
};
template <>
struct DTypeOfT<int32_t> {
  static constexpr DType value = DType::kInt32;
};
template <>
struct DTypeOfT<int64_t> {
  static constexpr DType value = DType::kInt64;
};
template <>
struct DTypeOfT<uint8_t> {
  static constexpr DType value = DType::kUint8;
};
template <typename T>
inline constexpr DType kDTypeOf = DTypeOfT<T>::value;

// The type that accompanies an activation type Io: small parameters (norm gains, convolutions,
// gates), statistics, states and losses are kept in it. double for double, float otherwise.
template <typename Io>
struct AccOfT {
  using type = float;
};
template <>
struct AccOfT<double> {
  using type = double;
};
template <typename Io>
using AccOf = typename AccOfT<Io>::type;

constexpr DType AccDType(DType io) {
  return io == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_DTYPE_H_
