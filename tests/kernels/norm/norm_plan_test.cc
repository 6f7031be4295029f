// How norms divide rows among threads.
#include "kernels/norm/norm_plan.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

std::string Rms(int64_t rows, int64_t dim, bool aligned = true, int access = 8) {
  return ChooseRmsNorm({rows, dim, access, aligned}).ToString();
}
std::string Gated(int64_t rows, int64_t dim, bool aligned = true) {
  return ChooseGatedRmsNorm({rows, dim, 8, aligned}).ToString();
}

TEST(RmsNormPlan, AWarpTakesShortRowsAndABlockLongOnes) {
  EXPECT_EQ(Rms(1000, 256),
            "32 threads a row, 8 elements an access, 1 in registers, blocks 125/125");
  EXPECT_EQ(Rms(1000, 512),
            "32 threads a row, 8 elements an access, 2 in registers, blocks 125/125");
  EXPECT_EQ(Rms(32768, 2048),
            "256 threads a row, 8 elements an access, 1 in registers, blocks 32768/396");
  EXPECT_EQ(Rms(3, 4096), "256 threads a row, 8 elements an access, 2 in registers, blocks 3/3");
  EXPECT_EQ(Rms(3, 8192), "256 threads a row, 8 elements an access, 4 in registers, blocks 3/3");
  EXPECT_EQ(Rms(3, 4096, true, 4),
            "256 threads a row, 4 elements an access, 4 in registers, blocks 3/3");
}

TEST(RmsNormPlan, OtherRowsAreReadTwice) {
  const std::string twice = "256 threads a row, 1 elements an access, read twice, blocks 3/3";
  EXPECT_EQ(Rms(3, 8200), twice);
  EXPECT_EQ(Rms(3, 250), twice);
  EXPECT_EQ(Rms(3, 256, false), twice);
}

TEST(RmsNormPlan, NoRowsNeedNoBlocks) {
  const RmsNormPlan plan = ChooseRmsNorm({0, 256});
  EXPECT_EQ(plan.forward_blocks, 0);
  EXPECT_EQ(plan.backward_blocks, 0);
}

TEST(GatedRmsNormPlan, LanesHoldRowsOfThreeSizes) {
  EXPECT_EQ(Gated(524288, 128), "16 lanes a row, in registers, blocks 32768/396");
  EXPECT_EQ(Gated(100, 64), "8 lanes a row, in registers, blocks 4/4");
  EXPECT_EQ(Gated(100, 256), "32 lanes a row, in registers, blocks 13/13");
  EXPECT_EQ(Gated(100, 192), "a warp a row, read twice, blocks 13/13");
  EXPECT_EQ(Gated(524288, 128, false), "a warp a row, read twice, blocks 65536/1024");
}

}  // namespace
}  // namespace wyvern
