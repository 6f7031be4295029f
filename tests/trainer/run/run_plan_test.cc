#include "trainer/run/run_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

using testing::HasSubstr;

RunConfig TinyRun() {
  RunConfig config;
  config.run.name = "tiny";
  config.run.device = Device::kCpu;
  config.run.precision = DType::kFloat32;
  config.model = TinyConfig(50);
  config.data.seq_len = 16;
  config.train = {.steps = 10, .batch_tokens = 256, .micro_batch = 2};
  return config;
}

std::string Error(const RunConfig& config, const RunSite& site) {
  return std::string(ResolveRun(config, site).status().message());
}

TEST(RunPlan, GivesEveryAxisItsSize) {
  RunConfig config = TinyRun();
  config.parallel.mesh = {.replicate = -1, .shard = 2, .context = 2, .expert = 4};
  const auto plan = ResolveRun(config, {.num_ranks = 8});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->mesh.replicate, 2);
  EXPECT_EQ(plan->mesh.shard, 2);
  EXPECT_EQ(plan->mesh.context, 2);
  EXPECT_EQ(plan->mesh.expert, 4);
  EXPECT_EQ(plan->num_data_ranks(), 4);
  EXPECT_EQ(plan->MicroBatchesOfRank(plan->stages[0]), 2);  // of 256 / (2 x 16), over 4
  EXPECT_EQ(plan->total_steps(), 10);
  EXPECT_EQ(plan->total_tokens(), 2560);
}

TEST(RunPlan, RefusesExpertsThatDoNotDivideTheRanks) {
  RunConfig config = TinyRun();
  config.parallel.mesh.expert = 3;
  EXPECT_EQ(Error(config, {.num_ranks = 4}),
            "parallel.expert: 3 does not divide the 4 ranks of this run");
  EXPECT_EQ(Error(config, {.num_ranks = 4, .simulated = true}),
            "parallel.expert: 3 does not divide the 4 ranks of this run");
}

TEST(RunPlan, ChecksTheBatchOfEveryStage) {
  RunConfig config = TinyRun();
  EXPECT_EQ(Error(config, {.num_ranks = 3}),
            "train.batch_tokens: 256 is no multiple of 3 ranks x train.micro_batch x data.seq_len "
            "= 96, so that they cannot divide a batch evenly");
  config.stages = {{.name = "a", .steps = 1}, {.name = "b", .steps = 1, .batch_tokens = 128}};
  EXPECT_TRUE(ResolveRun(config, {.num_ranks = 4}).ok());
  EXPECT_THAT(Error(config, {.num_ranks = 8}), HasSubstr("stages[1].batch_tokens: 128 is no"));
  EXPECT_TRUE(ResolveRun(config, {.num_ranks = 8, .own_batches = true}).ok());
}

TEST(RunPlan, ASimulatedRunNeedsNoGpu) {
  RunConfig config = TinyRun();
  config.run.device = Device::kCuda;
  config.run.precision = DType::kBf16;
  const auto simulated = ResolveRun(config, {.simulated = true});
  ASSERT_TRUE(simulated.ok()) << simulated.status();
  EXPECT_EQ(simulated->device, Device::kMeta);
  EXPECT_EQ(simulated->compute, DType::kBf16);
  if (CudaAvailable()) {
    EXPECT_EQ(ResolveRun(config)->device, Device::kCuda);
  } else {
    EXPECT_THAT(Error(config, {}), HasSubstr("run.device: cuda: "));
  }
}

TEST(RunPlan, TheComputeTypeIsTheOneOfTheConfigurationOnEveryDevice) {
  RunConfig config = TinyRun();
  EXPECT_EQ(ResolveRun(config)->compute, DType::kFloat32);
  EXPECT_EQ(ResolveRun(config, {.simulated = true})->compute, DType::kFloat32);
}

}  // namespace
}  // namespace wyvern
