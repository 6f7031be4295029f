// How the vocabulary's product and its loss divide the rows.
#include "kernels/head/linear_cross_entropy_plan.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

std::string Choose(const LinearCrossEntropyDesc& desc) {
  return ChooseLinearCrossEntropy(desc).ToString();
}

TEST(LinearCrossEntropyPlan, SlicesFitTheirBudget) {
  EXPECT_EQ(Choose({.num_rows = 32768, .vocab = 32000, .width = 2048}),
            "slices of 4096 rows, groups of 4096");
  EXPECT_EQ(Choose({.num_rows = 8192, .vocab = 163840, .width = 2304}),
            "slices of 768 rows, groups of 4608");
  EXPECT_EQ(Choose({.num_rows = 100, .vocab = 32000, .width = 2048}),
            "slices of 100 rows, groups of 100");
  EXPECT_EQ(Choose({.num_rows = 8192,
                    .vocab = 32000,
                    .width = 2048,
                    .io = DType::kFloat32,
                    .device = Device::kCpu}),
            "slices of 128 rows, groups of 2048");
}

TEST(LinearCrossEntropyPlan, TakesTheRowsThatAreAskedFor) {
  EXPECT_EQ(Choose({.num_rows = 8192, .vocab = 163840, .width = 2304, .group_rows = 2304}),
            "slices of 768 rows, groups of 2304");
  EXPECT_EQ(Choose({.num_rows = 10, .vocab = 50, .width = 8, .slice_rows = 3, .group_rows = 1}),
            "slices of 3 rows, groups of 3");
}

}  // namespace
}  // namespace wyvern
