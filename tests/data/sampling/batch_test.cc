#include "data/sampling/batch.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

TEST(Batch, CountsItsTokensAndTheTargetsThatCount) {
  const Batch batch{
      .tokens = {5, 7, 1}, .targets = {7, kIgnoredTarget, 0}, .cu_seqlens = {0, 2, 3}};
  EXPECT_EQ(batch.num_tokens(), 3);
  EXPECT_EQ(batch.num_targets(), 2);
  EXPECT_EQ(Batch().num_targets(), 0);
}

TEST(EqualSequences, AreOffsets) {
  EXPECT_EQ(EqualSequences(3, 4), (std::vector<int32_t>{0, 4, 8, 12}));
  EXPECT_EQ(EqualSequences(0, 4), (std::vector<int32_t>{0}));
}

}  // namespace
}  // namespace wyvern
