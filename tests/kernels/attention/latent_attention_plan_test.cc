// How attention over latent vectors divides its keys.
#include "kernels/attention/latent_attention_plan.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

TEST(LatentAttentionPlan, SplitsOfKeysFillTheGpu) {
  const auto choose = [](int64_t rows, int64_t keys, bool bf16 = true) {
    return ChooseLatentAttention({rows, keys, bf16}, MetaGpu()).ToString();
  };
  EXPECT_EQ(choose(32, 4096), "1 tiles of rows, 64 splits of 1 tiles of keys");
  EXPECT_EQ(choose(32, 1 << 20), "1 tiles of rows, 132 splits of 125 tiles of keys");
  EXPECT_EQ(choose(2048, 4096), "64 tiles of rows, 2 splits of 32 tiles of keys");
  EXPECT_EQ(choose(1 << 20, 4096), "32768 tiles of rows, 1 splits of 64 tiles of keys");
  EXPECT_EQ(choose(1, 1), "1 tiles of rows, 1 splits of 1 tiles of keys");
  EXPECT_EQ(choose(32, 4096, false), "2 tiles of rows, 64 splits of 2 tiles of keys");
}

TEST(LatentAttentionPlan, RangesShareTheGpu) {
  const auto choose = [](int64_t ranges, int64_t keys) {
    return ChooseLatentAttention({32, keys, true, ranges}, MetaGpu()).ToString();
  };
  EXPECT_EQ(choose(1, 1 << 20), "1 tiles of rows, up to 132 splits");
  EXPECT_EQ(choose(1, 100), "1 tiles of rows, up to 2 splits");
  EXPECT_EQ(choose(8, 1 << 20), "8 tiles of rows, up to 16 splits");
  EXPECT_EQ(choose(500, 1 << 20), "500 tiles of rows, up to 1 splits");
  // A range of some length is divided as a document of that length.
  for (const int keys : {1, 64, 65, 5000, 123456, 1 << 20}) {
    const int key_tiles =
        (keys + LatentTileSizesFor(true).keys - 1) / LatentTileSizesFor(true).keys;
    EXPECT_EQ(LatentTilesPerSplit(key_tiles, 132),
              ChooseLatentAttention({32, keys}, MetaGpu()).tiles_per_split);
  }
}

TEST(LatentAttentionPlan, EverySplitHasKeys) {
  for (int64_t keys = 1; keys < 100000; keys = keys * 2 + 17) {
    const LatentAttentionPlan plan = ChooseLatentAttention({32, keys}, MetaGpu());
    const int64_t split = int64_t{plan.tiles_per_split} * LatentTileSizesFor(true).keys;
    EXPECT_GE(plan.num_splits * split, keys);
    EXPECT_LT((plan.num_splits - 1) * split, keys);
  }
}

}  // namespace
}  // namespace wyvern
