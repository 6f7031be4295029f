#include "trainer/parallel/mesh.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

std::string Message(const MeshShape& shape, int64_t ranks) {
  return std::string(ResolveMesh(shape, ranks).status().message());
}

TEST(Mesh, TheOpenAxisTakesWhatIsLeft) {
  const auto sizes = [](const MeshShape& shape, int64_t ranks) {
    const auto resolved = ResolveMesh(shape, ranks);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
    return std::vector<int64_t>{resolved->replicate, resolved->shard, resolved->context};
  };
  EXPECT_EQ(sizes({}, 1), (std::vector<int64_t>{1, 1, 1}));
  EXPECT_EQ(sizes({}, 8), (std::vector<int64_t>{8, 1, 1}));
  EXPECT_EQ(sizes({-1, 4, 1}, 8), (std::vector<int64_t>{2, 4, 1}));
  EXPECT_EQ(sizes({1, -1, 2}, 8), (std::vector<int64_t>{1, 4, 2}));
  EXPECT_EQ(sizes({2, 2, 2}, 8), (std::vector<int64_t>{2, 2, 2}));
}

TEST(Mesh, AFaultNamesTheNumbers) {
  EXPECT_EQ(Message({-1, 3, 1}, 8),
            "parallel: replicate -1 x shard 3: the sizes that are given make 3, which does not "
            "divide the 8 ranks of this run");
  EXPECT_EQ(Message({2, 2, 1}, 8),
            "parallel: replicate 2 x shard 2 makes 4 ranks, but this run has 8; start 4 ranks, or "
            "set one axis to -1");
  EXPECT_NE(Message({-1, -1, 1}, 8).find("-1 at one axis at most"), std::string::npos);
  EXPECT_NE(Message({0, 1, 1}, 8).find("at least 1"), std::string::npos);
  EXPECT_EQ(Message({-1, 2, 1, 3}, 8),
            "parallel.expert: 3 does not divide the 8 ranks of this run");
}

TEST(Mesh, OneProcessIsAMeshOfOne) {
  const auto world = World::Single();
  const auto mesh = Mesh::Create(world.get(), {}, Device::kCpu);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  EXPECT_EQ((*mesh)->num_data_ranks(), 1);
  EXPECT_EQ((*mesh)->all().size(), 1);
  EXPECT_EQ((*mesh)->expert_replicas().size(), 1);
  EXPECT_EQ((*mesh)->experts(), nullptr);
  EXPECT_EQ((*mesh)->LayoutAt(3).sharding.count, 1);
}

}  // namespace
}  // namespace wyvern
