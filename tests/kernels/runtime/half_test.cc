#include "kernels/runtime/half.h"

#include <gtest/gtest.h>

#include <limits>

namespace wyvern {
namespace {

TEST(HalfTest, EveryNumberComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value)))) << bits;
    } else {
      ASSERT_EQ(FloatToHalf(value), half) << value;
    }
  }
}

// Between each pair of neighbours: the one that is nearer, and the even one halfway.
TEST(HalfTest, RoundsToNearestEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = HalfToFloat(half), high = HalfToFloat(half + 1), middle = (low + high) / 2;
    const uint16_t even = half + (half & 1);
    ASSERT_EQ(FloatToHalf(middle), even) << middle;
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000) << middle;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0F)), half) << middle;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, high)), half + 1) << middle;
  }
}

TEST(HalfTest, WhatIsTooLargeIsInfinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(FloatToHalf(std::nextafter(65520.0F, 0.0F)), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e30F), 0xfc00);
  EXPECT_EQ(FloatToHalf(kInfinity), 0x7c00);
  EXPECT_EQ(FloatToHalf(1e-30F), 0);
}

}  // namespace
}  // namespace wyvern
