#include "trainer/loop/batch_change.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace wyvern {
namespace {

RunConfig Config(int64_t steps, int64_t batch_tokens, int64_t seq_len) {
  RunConfig config;
  config.train.steps = steps;
  config.train.batch_tokens = batch_tokens;
  config.data.seq_len = seq_len;
  config.run.seed = 1;
  return config;
}

nlohmann::json Manifest(const RunConfig& config) {
  return {{"seed", config.run.seed},
          {"seq_len", config.data.seq_len},
          {"batch_windows", config.train.batch_tokens / config.data.seq_len},
          {"document_boundary", "reset"}};
}

// The verdict on a run of 10 steps of 64 tokens that resumes at step 7 as `now`.
absl::Status CheckOf(const RunConfig& now, int64_t step = 7) {
  const RunConfig before = Config(10, 64, 16);
  const std::vector<Stage> stages = StagesOf(now);
  const nlohmann::json ours = Manifest(now), theirs = Manifest(before);
  const BatchDifference difference{.config = now,
                                   .stages = stages,
                                   .step = step,
                                   .stage_updates = step,
                                   .now = ours,
                                   .then = theirs};
  EXPECT_TRUE(difference.IsAll());
  return difference.Check();
}

TEST(BatchChange, CountsFromTheTokensThatWereRead) {
  const RunConfig before = Config(10, 64, 16), now = Config(10, 120, 24);
  std::vector<Stage> stages = StagesOf(now);
  const nlohmann::json ours = Manifest(now), theirs = Manifest(before);
  const BatchDifference difference{
      .config = now, .stages = stages, .step = 7, .stage_updates = 7, .now = ours, .then = theirs};
  ASSERT_TRUE(difference.Moves());
  EXPECT_EQ(difference.Change().step, 7);
  EXPECT_EQ(difference.Change().tokens, 7 * 64);
  ChangeBatches(7, 7 * 64, &stages);
  EXPECT_EQ(stages[0].SampleAt(7), 19) << "448 tokens of samples of 24, rounded up";
  EXPECT_EQ(stages[0].SampleAt(9), 29);
  EXPECT_EQ(TokensBefore(stages, 9), 448 + 240);
  EXPECT_EQ(stages[0].end_token(), 448 + 3 * 120);
  EXPECT_EQ(difference.Note(stages[0]),
            "from step 8 on: 5 samples of 24 tokens a step, the first of them sample 19 of the "
            "order of seed 1");
}

TEST(BatchChange, MovesTheStagesBehindIt) {
  RunConfig config = Config(0, 64, 16);
  config.stages = {{.name = "a", .steps = 10}, {.name = "b", .steps = 5, .batch_tokens = 32}};
  std::vector<Stage> stages = StagesOf(config);
  ChangeBatches(4, 100, &stages);
  EXPECT_EQ(stages[0].first_token, 0);
  EXPECT_EQ(stages[1].first_step, 10);
  EXPECT_EQ(stages[1].first_token, 100 + 6 * 64);
  EXPECT_EQ(stages[1].SampleAt(10), (484 + 15) / 16);
  EXPECT_EQ(TokensBefore(stages, 12), 484 + 2 * 32);
}

TEST(BatchChange, IsRefusedWhereItWouldNotBeDefined) {
  const auto expect = [](const absl::Status& status, const std::string& what) {
    EXPECT_TRUE(absl::StrContains(status.message(), what)) << status;
  };
  EXPECT_TRUE(CheckOf(Config(10, 128, 16)).ok());
  EXPECT_TRUE(CheckOf(Config(10, 64, 32)).ok());
  RunConfig seed = Config(10, 64, 16);
  seed.run.seed = 2;
  EXPECT_TRUE(CheckOf(seed).ok());
  expect(CheckOf(seed, 10), "run.seed: the run has ended with step 10");
  expect(CheckOf(Config(10, 128, 16), 10), "train.batch_tokens: the run has ended with step 10");

  RunConfig tokens = Config(0, 128, 16);
  tokens.train.tokens = 6400;
  expect(CheckOf(tokens),
         "train.tokens: with another batch from step 7 on it does not say how "
         "many steps there are; give train.steps");
  tokens.train.batch_tokens = 64;
  tokens.data.seq_len = 32;
  EXPECT_TRUE(CheckOf(tokens).ok()) << "the batch has as many tokens as before";

  RunConfig warm = Config(10, 128, 16);
  warm.schedule.warmup_tokens = 8 * 128;
  expect(CheckOf(warm), "schedule.warmup_tokens: with another batch at step 7");
  warm.schedule.warmup_tokens = 7 * 128;
  EXPECT_TRUE(CheckOf(warm).ok()) << "the warm-up is over";

  RunConfig stages = Config(0, 128, 16);
  stages.stages = {{.name = "a", .steps = 7}, {.name = "b", .steps = 5}};
  expect(CheckOf(stages), "stages[0]: it ended with step 7");
  stages.stages[0].steps = 8;
  EXPECT_TRUE(CheckOf(stages).ok());
}

TEST(BatchChange, OtherDataAreNoChangeOfTheBatches) {
  const RunConfig config = Config(10, 64, 16);
  const std::vector<Stage> stages = StagesOf(config);
  nlohmann::json ours = Manifest(config);
  const nlohmann::json theirs = ours;
  ours["mixture"] = {{"first_token", 5}};
  ours["batch_windows"] = 9;
  const BatchDifference difference{.config = config, .stages = stages, .now = ours, .then = theirs};
  EXPECT_FALSE(difference.IsAll());
  EXPECT_TRUE(absl::StartsWith(difference.Describe(), "data.sources: ")) << difference.Describe();
}

TEST(BatchChange, IsReadAsItWasWritten) {
  nlohmann::json data = nlohmann::json::object();
  WriteBatchChanges({}, &data);
  EXPECT_TRUE(data.empty()) << "checkpoints of runs without changes are as before";
  WriteBatchChanges({{3, 192}, {5, 448}}, &data);
  const auto read = ReadBatchChanges(JsonMembers(data, "manifest.json", "data"), 5);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(read->back().tokens, 448);
  EXPECT_FALSE(ReadBatchChanges(JsonMembers(data, "manifest.json", "data"), 4).ok());
  data["batch_changes"]["tokens"] = {192};
  EXPECT_FALSE(ReadBatchChanges(JsonMembers(data, "manifest.json", "data"), 5).ok());
  data["batch_changes"]["tokens"] = "x";
  EXPECT_FALSE(ReadBatchChanges(JsonMembers(data, "manifest.json", "data"), 5).ok());
}

}  // namespace
}  // namespace wyvern
