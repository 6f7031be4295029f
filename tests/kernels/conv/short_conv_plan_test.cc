// How the short convolution divides tokens and channels among blocks.
#include "kernels/conv/short_conv_plan.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

TEST(ShortConvPlan, FillsTheGpuOnce) {
  // 4 blocks on each of 132 SMs, 2 of them across the channels.
  EXPECT_EQ(ChooseShortConv({32768, 2048, 8, 4}, MetaGpu()).ToString(),
            "256 tiles of 128 tokens, 2 blocks of channels");
  EXPECT_EQ(ChooseShortConv({32768, 6144, 4, 5}, MetaGpu()).ToString(),
            "55 tiles of 596 tokens, 12 blocks of channels");
  GpuInfo small = MetaGpu();
  small.num_sms = 66;
  EXPECT_EQ(ChooseShortConv({32768, 2048, 8, 4}, small).ToString(),
            "131 tiles of 252 tokens, 2 blocks of channels");
}

TEST(ShortConvPlan, TilesAreNotSmall) {
  EXPECT_EQ(ChooseShortConv({100, 64, 8, 4}, MetaGpu()).ToString(),
            "4 tiles of 32 tokens, 1 blocks of channels");
  EXPECT_EQ(ChooseShortConv({0, 64, 8, 4}, MetaGpu()).num_tiles, 0);
}

TEST(ShortConvPlan, CoversEveryToken) {
  for (int64_t tokens = 1; tokens < 100000; tokens = tokens * 3 + 1) {
    const ShortConvPlan plan = ChooseShortConv({tokens, 1000, 4, 5}, MetaGpu());
    EXPECT_GE(plan.num_tiles * plan.tile, tokens);
    EXPECT_LT((plan.num_tiles - 1) * plan.tile, tokens);
    EXPECT_EQ(plan.tile % kShortConvBatch, 0);
  }
}

}  // namespace
}  // namespace wyvern
