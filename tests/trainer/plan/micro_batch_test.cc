#include "trainer/plan/micro_batch.h"

#include <gtest/gtest.h>

#include "tests/trainer/tiny_model.h"
#include "trainer/config/stages.h"
#include "trainer/plan/simulate.h"

namespace wyvern {
namespace {

// 16 samples a step.
RunConfig TinyRun() {
  return TinyRunConfig(16, {.steps = 10, .batch_tokens = 256, .micro_batch = kAutoMicroBatch});
}

// The planned peak of a rank with micro batches of this many samples.
double PeakBytes(RunConfig config, int ranks, int64_t micro_batch) {
  config.train.micro_batch = micro_batch;
  const auto run = ResolveRun(config, {.num_ranks = ranks, .simulated = true});
  EXPECT_TRUE(run.ok()) << run.status();
  const auto step = SimulateStep(*run, run->stages.front(), ranks);
  EXPECT_TRUE(step.ok()) << step.status();
  return static_cast<double>(step->memory.peak_bytes);
}

int64_t Chosen(const RunConfig& config, int ranks, double bytes) {
  const auto chosen = ChooseMicroBatches(config, ranks, bytes);
  EXPECT_TRUE(chosen.ok()) << chosen.status();
  return chosen->train.micro_batch;
}

TEST(MicroBatch, AutoIsTheLargestThatFits) {
  const RunConfig config = TinyRun();
  for (const int ranks : {1, 2, 3}) {
    const int64_t share = (16 + ranks - 1) / ranks;
    for (const int64_t pieces : {1, 2, 4}) {
      const int64_t samples = (share + pieces - 1) / pieces;
      const double peak = PeakBytes(config, ranks, samples);
      EXPECT_EQ(Chosen(config, ranks, peak), samples) << ranks << " ranks";
      EXPECT_LT(Chosen(config, ranks, peak - 1), samples) << ranks << " ranks";
    }
    EXPECT_EQ(Chosen(config, ranks, 1e15), share);
    EXPECT_EQ(Chosen(config, ranks, 0), 1);
  }
}

TEST(MicroBatch, EachStageHasItsOwnAndNumbersStay) {
  RunConfig config = TinyRun();
  config.stages = {{.name = "a", .steps = 5},
                   {.name = "b", .steps = 5, .seq_len = 32},
                   {.name = "c", .steps = 5, .micro_batch = 3}};
  const auto chosen = ChooseMicroBatches(config, 1, 1e15);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->stages[0].micro_batch, 16);
  EXPECT_EQ(chosen->stages[1].micro_batch, 8);
  EXPECT_EQ(chosen->stages[2].micro_batch, 3);
  config.train.micro_batch = 2;
  EXPECT_EQ(*ChooseMicroBatches(config, 1, 0), config);
}

TEST(MicroBatch, TakesAShareOfTheMemory) {
  EXPECT_EQ(PlannedHostBytes(64e9, 4), 8e9);
  EXPECT_LT(PlannedGpuBytes(80e9), 0.95 * 80e9);
}

}  // namespace
}  // namespace wyvern
