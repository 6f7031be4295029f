#include <gtest/gtest.h>

#include "tests/ranks/ranks.h"
#include "tests/support/collective_checks.h"

namespace wyvern {
namespace {

TEST(CommRanks, CollectivesInHostMemory) { CheckCollectives(TheWorld().host()); }

TEST(CommRanks, ReductionsProceedBesideCollectives) { CheckBackgroundReduction(TheWorld()); }

TEST(CommRanks, CollectivesOfHalves) {
  World& world = TheWorld();
  const int half = world.size() / 2;
  std::vector<int> ranks;
  for (int r = 0; r < world.size(); ++r) {
    if (half == 0 || r / half == world.rank() / half) ranks.push_back(r);
  }
  const auto group = world.MakeGroup(Device::kCpu, ranks, "half");
  ASSERT_TRUE(group.ok()) << group.status();
  CheckCollectives(**group);
}

TEST(CommRanks, CollectivesInDeviceMemory) {
  World& world = TheWorld();
  if (!RanksHaveGpus()) GTEST_SKIP() << "no GPU for every rank";
  std::vector<int> all;
  for (int r = 0; r < world.size(); ++r) all.push_back(r);
  const auto group = world.MakeGroup(Device::kCuda, all, "all");
  ASSERT_TRUE(group.ok()) << group.status();
  CheckCollectives(**group);
}

}  // namespace
}  // namespace wyvern
