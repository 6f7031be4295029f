// Arithmetic on sizes that files and users give: what does not fit is seen, never wrapped round.
#ifndef WYVERN_KERNELS_RUNTIME_CHECKED_MATH_H_
#define WYVERN_KERNELS_RUNTIME_CHECKED_MATH_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace wyvern {

// The product of sizes; nothing if one is negative or the product does not fit.
inline std::optional<int64_t> CheckedProduct(const std::vector<int64_t>& sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size < 0 || __builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  return product;
}

// The product of numbers >= 0; the largest int64_t where the result does not fit.
inline int64_t SaturatedProduct(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}
inline int64_t SaturatedSum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_CHECKED_MATH_H_
