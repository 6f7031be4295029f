// The choice of the largest scores by a warp: the largest first, ties to the lower number, a NaN
// less than every number.
//
// The warp shares up to 32 kPer numbers: lane l holds numbers l, l + 32, ..
#pragma once

#include "kernels/common/common.cuh"

namespace wyvern {

constexpr uint32_t kNoKey = 0;   // of a number that may not be chosen (again)
constexpr uint32_t kNanKey = 1;  // less than that of any number

// Grows with the score, whose zeros are equal.
__device__ __forceinline__ uint32_t KeyOf(float score) {
  if (isnan(score)) return kNanKey;
  const uint32_t bits = __float_as_uint(score + 0.f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float ScoreOf(uint32_t key) {
  if (key == kNanKey) return nanf("");
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

struct Choice {
  uint32_t key;
  int number;
};

// The best of keys, which then becomes kNoKey; the same in all lanes. At least one is above kNoKey.
template <int kPer>
__device__ __forceinline__ Choice TakeBest(uint32_t (&keys)[kPer]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  uint32_t best = keys[0];
  int number = lane;
#pragma unroll
  for (int i = 1; i < kPer; ++i) {
    if (keys[i] > best) {
      best = keys[i];
      number = lane + kWarpSize * i;
    }
  }
  const uint32_t key = __reduce_max_sync(0xffffffffu, best);
  const unsigned candidate = best == key ? static_cast<unsigned>(number) : 0xffffffffu;
  const int chosen = static_cast<int>(__reduce_min_sync(0xffffffffu, candidate));
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    if (lane + kWarpSize * i == chosen) keys[i] = kNoKey;
  }
  return {key, chosen};
}

// x of the lane that holds `number`, in all lanes.
template <int kPer>
__device__ __forceinline__ float ValueOf(const float (&x)[kPer], int number) {
  float mine = x[0];
#pragma unroll
  for (int i = 1; i < kPer; ++i) {
    if (number / kWarpSize == i) mine = x[i];
  }
  return __shfl_sync(0xffffffffu, mine, number % kWarpSize);
}

// fn takes the least kPer that holds n numbers, n <= 1024, as an integral_constant.
template <typename F>
void VisitPer(int64_t n, F&& fn) {
  if (n <= 2 * kWarpSize) return fn(std::integral_constant<int, 2>());
  if (n <= 8 * kWarpSize) return fn(std::integral_constant<int, 8>());
  if (n <= 16 * kWarpSize) return fn(std::integral_constant<int, 16>());
  fn(std::integral_constant<int, 32>());
}

}  // namespace wyvern
