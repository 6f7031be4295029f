#include "trainer/run/engine.h"

#include <gtest/gtest.h>

#include "kernels/runtime/allocator.h"
#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

RunConfig MoeRun() {
  RunConfig config;
  config.run.device = Device::kCpu;
  config.run.precision = DType::kFloat32;
  config.model = TinyConfig(50);
  config.model.moe = MoeConfig{.num_experts = 4, .experts_per_token = 2, .intermediate_size = 16};
  config.data.seq_len = 16;
  config.train = {.steps = 1, .batch_tokens = 128, .micro_batch = 1};
  return config;
}

TEST(Engine, OnOneRankHasNoMesh) {
  const std::unique_ptr<World> world = World::Single();
  const auto engine = MakeEngine(*ResolveRun(MoeRun()), world.get());
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ(engine->mesh, nullptr);
  EXPECT_EQ(engine->parallel, nullptr);
  EXPECT_EQ(engine->model->device(), Device::kCpu);
  EXPECT_EQ(engine->model->compute(), DType::kFloat32);
}

TEST(Engine, TakesRecomputationFromThePlan) {
  RunConfig config = MoeRun();
  config.train.recompute = RecomputePolicy::kElementwise;
  const std::unique_ptr<World> world = World::Single();
  const auto engine = MakeEngine(*ResolveRun(config), world.get());
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ(engine->model->recompute(), RecomputePolicy::kElementwise);
}

TEST(Engine, DividesExpertsAndParametersAsThePlanSays) {
  RunConfig config = MoeRun();
  config.parallel.mesh = {.replicate = 2, .shard = 2, .expert = 4};
  const auto plan = ResolveRun(config, {.num_ranks = 4, .simulated = true});
  ASSERT_TRUE(plan.ok()) << plan.status();
  CommVolumes volumes;
  const std::unique_ptr<World> world = World::Meta(4, 4, &volumes);
  const int64_t before = GetMemoryStats(Device::kMeta).current_bytes;
  const auto engine = MakeEngine(*plan, world.get());
  ASSERT_TRUE(engine.ok()) << engine.status();
  ASSERT_NE(engine->mesh, nullptr);
  ASSERT_NE(engine->parallel, nullptr);
  EXPECT_EQ(&engine->parallel->mesh(), engine->mesh.get());
  EXPECT_EQ(engine->mesh->shape().expert, 4);
  EXPECT_EQ(engine->model->sharding_layout().sharding.count, 2);
  EXPECT_EQ(engine->model->sharding_layout().experts->size(), 4);
  const int64_t all = GetMemoryStats(Device::kMeta).current_bytes - before;
  EXPECT_GT(engine->optimizer->state_bytes(), 0);
  EXPECT_LT(engine->optimizer->state_bytes(), all);
}

}  // namespace
}  // namespace wyvern
