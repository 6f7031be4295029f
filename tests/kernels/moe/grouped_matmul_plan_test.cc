// Which kernels multiply groups of rows.
#include "kernels/moe/grouped_matmul_plan.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

GpuInfo Gpu(int major, int minor) {
  GpuInfo gpu = MetaGpu();
  gpu.major = major;
  gpu.minor = minor;
  return gpu;
}

GroupedMatmulDesc Desc() {
  return {.shape = {.num_rows = 131072, .num_experts = 256, .dim_in = 2304, .dim_out = 1024}};
}

TEST(GroupedMatmulPlan, HopperHasKernelsOfItsOwn) {
  EXPECT_EQ(ChooseGroupedMatmul(Desc(), Gpu(9, 0)).ToString(), "sm90, pairs of blocks");
}

TEST(GroupedMatmulPlan, OtherGpusTakeTheGeneralPath) {
  for (const auto& [major, minor] :
       {std::pair(8, 0), std::pair(8, 9), std::pair(10, 0), std::pair(12, 0)}) {
    EXPECT_EQ(ChooseGroupedMatmul(Desc(), Gpu(major, minor)).ToString(), "tiles of 64 x 64");
  }
}

TEST(GroupedMatmulPlan, OtherSizesAndTypesTakeTheGeneralPath) {
  const auto general = [](const auto& change) {
    GroupedMatmulDesc desc = Desc();
    change(desc);
    return ChooseGroupedMatmul(desc, Gpu(9, 0)).path == GroupedMatmulPath::kTiles;
  };
  EXPECT_TRUE(general([](GroupedMatmulDesc& d) { d.bf16 = false; }));
  EXPECT_TRUE(general([](GroupedMatmulDesc& d) { d.aligned = false; }));
  EXPECT_TRUE(general([](GroupedMatmulDesc& d) { d.adds_to_bf16 = true; }));
  EXPECT_TRUE(general([](GroupedMatmulDesc& d) { d.shape.dim_in = 2300; }));
  EXPECT_TRUE(general([](GroupedMatmulDesc& d) { d.shape.dim_out = 0; }));
  EXPECT_TRUE(general([](GroupedMatmulDesc& d) { d.shape.num_experts = int64_t{1} << 21; }));
  EXPECT_FALSE(general([](GroupedMatmulDesc& d) { d.shape.num_rows = 0; }));
}

}  // namespace
}  // namespace wyvern
