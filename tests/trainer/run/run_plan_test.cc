#include "trainer/run/run_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

using testing::HasSubstr;

RunConfig TinyRun() {
  return TinyRunConfig(16, {.steps = 10, .batch_tokens = 256, .micro_batch = 2});
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

// Every sample of two steps falls to one micro batch, in order, however many ranks there are.
TEST(RunPlan, DividesABatchAmongAnyNumberOfRanks) {
  RunConfig config = TinyRun();  // 16 samples a step
  for (const int64_t micro_batch : {2, 3, 16, 64}) {
    config.train.micro_batch = micro_batch;
    for (int64_t ranks = 1; ranks <= 16; ++ranks) {
      const auto plan = ResolveRun(config, {.num_ranks = ranks});
      ASSERT_TRUE(plan.ok()) << plan.status();
      const Stage& stage = plan->stages[0];
      const int64_t pieces = ranks * plan->MicroBatchesOfRank(stage);
      int64_t next = 0, largest = 0;
      for (int64_t number = 0; number < 2 * pieces; ++number) {
        const RunPlan::Samples samples = plan->SamplesOfMicroBatch(stage, number);
        EXPECT_EQ(samples.first, next);
        EXPECT_GE(samples.count, 16 / pieces);
        EXPECT_LE(samples.count, (16 + pieces - 1) / pieces);
        next += samples.count;
        largest = std::max(largest, samples.count);
      }
      EXPECT_EQ(next, 32);
      EXPECT_EQ(largest, stage.micro_batch);
      EXPECT_LE(largest, micro_batch);
      // One micro batch less would not do.
      EXPECT_GT(16, (pieces - ranks) * micro_batch);
    }
  }
}

// The division that runs of one and of two ranks always had.
TEST(RunPlan, DividesEvenlyWhereItCan) {
  RunConfig config = TinyRun();
  const auto one = ResolveRun(config), two = ResolveRun(config, {.num_ranks = 2});
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->MicroBatchesOfRank(one->stages[0]), 8);
  EXPECT_EQ(two->MicroBatchesOfRank(two->stages[0]), 4);
  for (int64_t number = 0; number < 20; ++number) {
    for (const RunPlan* plan : {&*one, &*two}) {
      EXPECT_EQ(plan->SamplesOfMicroBatch(plan->stages[0], number).first, 2 * number);
      EXPECT_EQ(plan->SamplesOfMicroBatch(plan->stages[0], number).count, 2);
    }
  }
}

TEST(RunPlan, ChecksTheBatchOfEveryStage) {
  RunConfig config = TinyRun();
  config.train.micro_batch = 1;
  EXPECT_EQ(Error(config, {.num_ranks = 3}),
            "train.micro_batch: 16 samples cannot be divided over 3 ranks in micro batches of at "
            "most 1; set it to 2, or train.batch_tokens to a multiple of 48");
  config.stages = {{.name = "a", .steps = 1}, {.name = "b", .steps = 1, .batch_tokens = 64}};
  EXPECT_TRUE(ResolveRun(config, {.num_ranks = 4}).ok());
  EXPECT_THAT(Error(config, {.num_ranks = 8}),
              HasSubstr("stages[1].batch_tokens: a batch of 4 samples does not reach for 8 ranks"));
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
