#include "trainer/scoring/rolling.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

using Windows = std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>;

Windows Roll(int32_t size, int64_t max_length) {
  std::vector<int32_t> text;
  for (int32_t i = 0; i < size; ++i) text.push_back(i);
  Windows windows;
  for (const ScoreRequest& request : RollingRequests(text, 99, max_length)) {
    windows.emplace_back(request.context, request.continuation);
  }
  return windows;
}

// The expected windows are those that lm-eval 0.4's functions gave.
TEST(RollingRequests, AreTheWindowsOfLmEval) {
  EXPECT_EQ(Roll(10, 4), (Windows{{{99}, {0, 1, 2, 3}}, {{3}, {4, 5, 6, 7}}, {{5, 6, 7}, {8, 9}}}));
  EXPECT_EQ(Roll(9, 4), (Windows{{{99}, {0, 1, 2, 3}}, {{3}, {4, 5, 6, 7}}, {{4, 5, 6, 7}, {8}}}));
  EXPECT_EQ(Roll(8, 4), (Windows{{{99}, {0, 1, 2, 3}}, {{3}, {4, 5, 6, 7}}}));
  EXPECT_EQ(Roll(3, 4), (Windows{{{99}, {0, 1, 2}}}));
  EXPECT_EQ(Roll(3, 1), (Windows{{{99}, {0}}, {{0}, {1}}, {{1}, {2}}}));
}

TEST(RollingRequests, WithoutALimitAreOneWindow) {
  EXPECT_EQ(Roll(4, 0), (Windows{{{99}, {0, 1, 2, 3}}}));
  EXPECT_EQ(Roll(0, 0), Windows());
  EXPECT_EQ(Roll(0, 4), Windows());
}

}  // namespace
}  // namespace wyvern
