// IEEE half precision, which files hold and no kernel computes in.
#ifndef WYVERN_KERNELS_RUNTIME_HALF_H_
#define WYVERN_KERNELS_RUNTIME_HALF_H_

#include <cmath>
#include <cstdint>
#include <cstring>

namespace wyvern {

inline float HalfToFloat(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

// Rounds to nearest even; what is too large becomes infinite, NaN stays NaN.
inline uint16_t FloatToHalf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7e00u;
  if (magnitude >= 65520.0f) return sign | 0x7c00u;  // halfway to the next number and above
  // In units of the last place, which below 2^-14 is 2^-24.
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude in [2^(exponent - 1), 2^exponent)
  if (exponent < -13 || magnitude == 0) exponent = -13;
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 11 - exponent)));
  // A mantissa that rounds up to 2048 carries into the exponent, as it should.
  return static_cast<uint16_t>(sign + (static_cast<uint32_t>(exponent + 13) << 10) + units);
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_HALF_H_
