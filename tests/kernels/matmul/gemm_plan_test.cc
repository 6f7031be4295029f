// Which of cuBLASLt's kernels multiplies.
#include "kernels/matmul/gemm_plan.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

// D [m, n] as the library sees it.
std::string Best(const GemmDesc& desc, const GpuInfo& gpu = MetaGpu()) {
  return ChooseGemm(desc, gpu)[0].ToString();
}

TEST(GemmPlan, TakesTheTileThatFillsItsWaves) {
  EXPECT_EQ(Best({.m = 2048, .n = 32768, .k = 2048}),
            "[2048, 32768], sums of 2048: tile 128x160, expected rate 0.99");
  EXPECT_EQ(Best({.m = 32000, .n = 4096, .k = 2048, .heuristic_fill = 0.9}),
            "[32000, 4096], sums of 2048: tile 128x128, expected rate 0.97");
}

TEST(GemmPlan, LeavesTheRestToTheLibrary) {
  const std::string own = "[2048, 32768], sums of 2048: the library's choice, expected rate 0.90";
  EXPECT_EQ(Best({.m = 2048, .n = 32768, .k = 2048, .bf16 = false}), own);
  EXPECT_EQ(Best({.m = 2048, .n = 32768, .k = 2048, .tileable = false}), own);
  EXPECT_EQ(Best({.m = 1000, .n = 32768, .k = 2048}),
            "[1000, 32768], sums of 2048: the library's choice, expected rate 0.90");
}

TEST(GemmPlan, NamesTilesOnHopperAlone) {
  for (const auto& [major, minor] : {std::pair(8, 0), std::pair(10, 0), std::pair(12, 0)}) {
    GpuInfo gpu = MetaGpu();
    gpu.major = major;
    gpu.minor = minor;
    EXPECT_EQ(ChooseGemm({.m = 2048, .n = 32768, .k = 2048}, gpu).size(), 1u);
  }
}

TEST(GemmPlan, ListsTheBestFirstAndTheLibrarysLast) {
  const auto plans =
      ChooseGemm({.m = 2048, .n = 32768, .k = 8192, .heuristic_fill = 0.5}, MetaGpu());
  ASSERT_EQ(plans.size(), 1u + kNumGemmTiles);
  for (size_t i = 0; i + 1 < plans.size(); ++i) EXPECT_GE(plans[i].rate, plans[i + 1].rate);
  EXPECT_EQ(plans.back().tile, -1);
}

}  // namespace
}  // namespace wyvern
