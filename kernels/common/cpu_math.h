// Element-wise mathematics of the CPU kernels.
#ifndef WYVERN_KERNELS_COMMON_CPU_MATH_H_
#define WYVERN_KERNELS_COMMON_CPU_MATH_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace wyvern {

// exp(x) within 2 ulp for x in [-87, 88], held at the ends outside; NaN stays NaN. Written so that
// the compiler vectorises loops over it, which it does not do for std::exp.
inline float Exp(float x) {
  x = x < -87.f ? -87.f : x;
  x = x > 88.f ? 88.f : x;
  const float shifted = x * 1.44269504f + 12582912.f;  // 1.5 * 2^23: the last bits are an integer
  const float n = shifted - 12582912.f;                // nearest integer of x / log 2
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  // From the bits, which NaN has too; a conversion of NaN to an integer would be undefined.
  const float scale = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127u) << 23);
  return (p * r * r + r + 1.f) * scale;
}
inline double Exp(double x) { return std::exp(x); }

template <typename T>
T Sigmoid(T x) {
  return 1 / (1 + Exp(-x));
}

// d/dx of x sigmoid(x).
template <typename T>
T SiluSlope(T x) {
  const T s = Sigmoid(x);
  return s * (1 + x * (1 - s));
}

// Calls fn(begin, end) for blocks of [0, n) in parallel. The blocks do not depend on the number of
// threads, so neither does what the compiler makes of a loop's tail.
template <typename F>
void ForEachBlock(int64_t n, F&& fn) {
  constexpr int64_t kBlock = 4096;
#pragma omp parallel for schedule(static) if (n > 4 * kBlock)
  for (int64_t begin = 0; begin < n; begin += kBlock) fn(begin, std::min(n, begin + kBlock));
}

// out[i] = sum over rows t of fn(t)(i), i < dim, or adds it to out[i]: by blocks of columns, so
// that the order of each sum does not depend on the number of threads.
template <typename T, typename F>
void SumRows(int64_t num_rows, int64_t dim, T* out, bool add, F&& fn) {
  constexpr int64_t kBlock = 64;
#pragma omp parallel for schedule(static) if (num_rows * dim > 16384)
  for (int64_t begin = 0; begin < dim; begin += kBlock) {
    const int64_t count = std::min(kBlock, dim - begin);
    T sum[kBlock] = {};
    for (int64_t t = 0; t < num_rows; ++t) {
      const auto row = fn(t);
      for (int64_t i = 0; i < count; ++i) sum[i] += row(begin + i);
    }
    for (int64_t i = 0; i < count; ++i) out[begin + i] = (add ? out[begin + i] : T(0)) + sum[i];
  }
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMMON_CPU_MATH_H_
