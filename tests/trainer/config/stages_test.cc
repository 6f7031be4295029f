#include "trainer/config/stages.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/config/load.h"
#include "trainer/optimizer/schedule.h"

namespace wyvern {
namespace {

constexpr char kConfig[] = R"(run: {name: test, device: cpu}
model:
  vocab_size: 300
  hidden_size: 32
  num_layers: 2
  mixers: {kda: {type: kda, num_heads: 2, key_dim: 16, value_dim: 16}}
  pattern: [kda]
tokenizer: {type: byte}
data: {sources: [{dir: /tmp/store, text: [a.txt]}], seq_len: 16}
train: {batch_tokens: 64, micro_batch: 2}
stages:
  - name: stable
    steps: 10
    schedule: {type: constant, peak: 1e-3, warmup_steps: 4}
  - name: fall
    tokens: 500
    batch_tokens: 128
    schedule: {type: cosine, peak: 1e-3, final: 1e-4}
  - name: long
    tokens: 640
    seq_len: 48
    micro_batch: 1
    batch_tokens: 96
    schedule: {type: linear, peak: 1e-4, final: 2e-5}
)";

RunConfig Parsed(const std::string& yaml, const std::vector<std::string>& sets = {}) {
  auto config = ParseRunConfig(yaml, "c.yaml", sets);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : RunConfig();
}

std::string ErrorOf(const std::vector<std::string>& sets) {
  const auto config = ParseRunConfig(kConfig, "c.yaml", sets);
  return config.ok() ? "" : std::string(config.status().message());
}

TEST(Stages, FollowOneAnotherWithTheirOwnSizes) {
  const RunConfig config = Parsed(kConfig);
  const std::vector<Stage> stages = StagesOf(config);
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[0].num_steps, 10);
  EXPECT_EQ(stages[0].seq_len, 16);
  EXPECT_EQ(stages[1].first_step, 10);
  EXPECT_EQ(stages[1].first_token, 640);
  EXPECT_EQ(stages[1].num_steps, 4);  // 500 tokens, rounded up to steps of 128
  EXPECT_EQ(stages[1].micro_batch, 2);
  EXPECT_EQ(stages[2].first_step, 14);
  EXPECT_EQ(stages[2].first_token, 640 + 4 * 128);
  EXPECT_EQ(stages[2].num_steps, 7);
  EXPECT_EQ(stages[2].SamplesPerStep(), 2);
  EXPECT_EQ(stages.back().end_step(), 21);
  EXPECT_EQ(stages.back().end_token(), 640 + 512 + 7 * 96);
  EXPECT_EQ(StageOfStep(stages, 0).name, "stable");
  EXPECT_EQ(StageOfStep(stages, 9).name, "stable");
  EXPECT_EQ(StageOfStep(stages, 10).name, "fall");
  EXPECT_EQ(StageOfStep(stages, 20).name, "long");
  EXPECT_EQ(StageOfStep(stages, 21).name, "long");
  EXPECT_EQ(TokensBefore(stages, 10), 640);
  EXPECT_EQ(TokensBefore(stages, 12), 640 + 256);
  EXPECT_EQ(TokensBefore(stages, 21), stages.back().end_token());
}

// Samples of the new length continue where the tokens so far would end among them.
TEST(Stages, SamplesContinueByTheTokensSeen) {
  const std::vector<Stage> stages = StagesOf(Parsed(kConfig));
  EXPECT_EQ(stages[0].SampleAt(3), 12);
  EXPECT_EQ(stages[1].SampleAt(10), 40);
  EXPECT_EQ(stages[1].SampleAt(11), 48);
  EXPECT_EQ(stages[2].SampleAt(14), 24);  // 1152 tokens are 24 samples of 48
  EXPECT_EQ(stages[2].SampleAt(15), 26);
  const std::vector<Stage> uneven = StagesOf(Parsed(kConfig, {"stages.1.tokens=100"}));
  EXPECT_EQ(uneven[2].first_token, 768);
  EXPECT_EQ(uneven[2].SampleAt(11), 16);
  const std::vector<Stage> rounded = StagesOf(Parsed(kConfig, {"stages.0.steps=11"}));
  EXPECT_EQ(rounded[2].first_token, 1216);  // 25 samples and a third
  EXPECT_EQ(rounded[2].SampleAt(15), 26);
}

TEST(Stages, ARunWithoutThemIsOne) {
  RunConfig config;
  config.data.seq_len = 8;
  config.train.batch_tokens = 32;
  config.train.tokens = 100;
  config.schedule.peak = 0.5;
  const std::vector<Stage> stages = StagesOf(config);
  ASSERT_EQ(stages.size(), 1u);
  EXPECT_EQ(stages[0].name, "");
  EXPECT_EQ(stages[0].num_steps, 4);
  EXPECT_EQ(stages[0].SampleAt(2), 8);
  EXPECT_EQ(stages[0].schedule.peak, 0.5);
}

// The shape that the MuonClip recipes take from arXiv 2507.20534: warm-up, constant to 62.5% of the
// tokens, a cosine to a tenth at 97.5%, and a line to the end.
TEST(Stages, RatesOfAWarmupStableDecayRecipeAreContinuous) {
  const RunConfig config = Parsed(R"(run: {name: test, device: cpu}
model:
  vocab_size: 300
  hidden_size: 32
  num_layers: 1
  mixers: {kda: {type: kda, num_heads: 2, key_dim: 16, value_dim: 16}}
  pattern: [kda]
tokenizer: {type: byte}
data: {sources: [{dir: /tmp/store, text: [a.txt]}], seq_len: 16}
train: {batch_tokens: 64, micro_batch: 2}
stages:
  - {name: stable, steps: 2500, schedule: {type: constant, peak: 1.1e-3, warmup_steps: 400}}
  - {name: decay, steps: 1400, schedule: {type: cosine, peak: 1.1e-3, final: 1.1e-4}}
  - {name: anneal, steps: 100, schedule: {type: linear, peak: 1.1e-4, final: 3.85e-5}}
)");
  const std::vector<Stage> stages = StagesOf(config);
  const auto rate = [&](int64_t step) {
    const Stage& stage = StageOfStep(stages, step);
    return Schedule(stage).RateAt(step - stage.first_step);
  };
  EXPECT_EQ(rate(0), 0);
  EXPECT_EQ(rate(400), 1.1e-3);
  EXPECT_EQ(rate(2499), 1.1e-3);
  EXPECT_EQ(rate(2500), 1.1e-3);
  EXPECT_EQ(rate(3899), 1.1e-4);
  EXPECT_EQ(rate(3900), 1.1e-4);
  EXPECT_EQ(rate(3999), 3.85e-5);
  for (int64_t step = 401; step < 4000; ++step) {
    EXPECT_LE(rate(step), rate(step - 1)) << step;
    EXPECT_GT(rate(step), rate(step - 1) - 2e-6) << step;
  }
}

TEST(Stages, WhatIsWrittenReadsBackEqual) {
  const RunConfig config = Parsed(kConfig);
  EXPECT_EQ(Parsed(ToYaml(config)), config);
}

TEST(Stages, EveryFaultNamesItsStage) {
  const auto has = [](const std::vector<std::string>& sets, const std::string& message) {
    const std::string error = ErrorOf(sets);
    EXPECT_NE(error.find(message), std::string::npos) << error;
  };
  has({"stages.1.name=stable"}, "stages[1].name: 'stable' is the name of another stage too");
  has({"stages.1.name=null"}, "stages[1].name: expected letters, digits");
  has({"stages.0.tokens=64", "stages.0.steps=10"},
      "stages[0].steps: expected exactly one of stages[0].steps and "
      "stages[0].tokens, got both");
  has({"stages.0.steps=null"}, "got neither");
  has({"stages.2.seq_len=40"},
      "stages[2].batch_tokens: expected a multiple of stages[2].seq_len = 40, got 96");
  has({"stages.2.seq_len=-1"}, "stages[2].seq_len: expected at least 1");
  has({"stages.0.schedule.warmup_steps=11"},
      "stages[0].schedule.warmup_steps: the warm-up of 11 steps does not fit into the stage's 10 "
      "steps");
  has({"stages.1.schedule.peak=0"}, "stages[1].schedule.peak: expected more than 0");
  has({"stages.1.schedule.final=1"},
      "stages[1].schedule.final: expected 0 to "
      "stages[1].schedule.peak");
  has({"stages.1.schedule.peek=1"}, "did you mean 'peak'?");
  has({"stages.1.sources=[{dir: b, weight: 1}, {dir: c}]"},
      "stages[1].sources: weights are given for 1 of 2 sources; give all or none");
  has({"stages.1.sources=[{dir: b, weight: 1}, {dir: ./b/, weight: 2}]"},
      "stages[1].sources[1].dir: './b/' is the folder of another source of the stage too");
  const std::string absolute = std::filesystem::absolute("b").string();
  has({absl::StrCat("stages.1.sources=[{dir: b, weight: 1}, {dir: ", absolute, ", weight: 2}]")},
      absl::StrCat("stages[1].sources[1].dir: '", absolute, "' is the folder of another source"));
  has({"stages.1.sources=[{dir: /tmp/store, text: [b.txt]}]"},
      "stages[1].sources[0].text: data.sources[0] describes this folder in another way");
  has({"stages.1.sources=[{dir: b, weight: 2}]"}, "weight: has no effect with a single source");
  has({"stages.1.document_boundary=rest"}, "did you mean 'reset'?");
  has({"stages.1.sources=[{dir: \"\", text: [b.txt]}]"}, "stages[1].sources[0].dir");
  has({"train.steps=5"}, "train.steps: has no effect with stages");
  has({"schedule.peak=0.1"}, "schedule: has no effect with stages");
}

// Resumed in the middle of a stage and where one ends, the run has the digits of the uninterrupted
// one; other lengths before the checkpoint are refused, other ones after it are not.
class StagesRunTest : public RunTest {};

TEST_F(StagesRunTest, ResumesExactlyInAndBetweenStages) {
  std::string config = Config();
  Replace(&config, "train: {steps: 40, ", "train: {");
  Replace(&config, "schedule: {type: constant, peak: 5e-3, warmup_steps: 4}", R"(stages:
  - {name: one, steps: 10, schedule: {type: constant, peak: 5e-3, warmup_steps: 4}}
  - {name: two, tokens: 1600, batch_tokens: 192, seq_len: 48, micro_batch: 2, schedule: {type: linear, peak: 5e-3, final: 1e-3}}
  - {name: three, steps: 4, schedule: {type: wsd, peak: 1e-3, decay_steps: 3}})");
  Replace(&config, "checkpoint: {every: 10, keep: 100}", "checkpoint: {every: 5, keep: 100}");
  WriteText("config.yaml", config);
  const ProcessResult whole = Train({"run.dir=" + Path("reference")});
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_NE(whole.out.find("stage 2 of 3, two: steps 11 to 19, 192 tokens in sequences of 48"),
            std::string::npos)
      << whole.out;
  const auto expected = Metrics(Path("reference"));
  ASSERT_EQ(expected.size(), 24u);
  EXPECT_EQ(nlohmann::json::parse(expected.at(19))["tokens"], 10 * 256 + 9 * 192);
  EXPECT_EQ(nlohmann::json::parse(expected.at(19))["lr"], 1e-3);
  EXPECT_EQ(nlohmann::json::parse(expected.at(23))["lr"], 0);
  const auto at_boundary = OpenCheckpoint(Checkpoint(Path("reference"), 10));
  ASSERT_TRUE(at_boundary.ok()) << at_boundary.status();
  EXPECT_EQ(at_boundary->meta["training"]["stage"], "one");

  const auto resumed_from = [&](int64_t step, std::vector<std::string> sets) {
    const std::string run = Path(absl::StrCat("from", step, "-", sets.size()));
    sets.push_back("run.dir=" + run);
    auto args = TrainArgs(Path("config.yaml"), sets);
    args.insert(args.end(), {"--resume", Checkpoint(Path("reference"), step)});
    return std::pair(run, Wyvern(args));
  };
  for (const int64_t step : {10, 15}) {
    const auto [run, result] = resumed_from(step, {});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    auto rest = expected;
    rest.erase(rest.begin(), rest.find(step + 1));
    auto resumed = Metrics(run);
    auto first = nlohmann::json::parse(resumed.at(step + 1));
    EXPECT_EQ(first["parent"]["step"], step);  // the run is a branch
    first.erase("parent");
    resumed.at(step + 1) = first.dump();
    EXPECT_EQ(resumed, rest);
    ExpectEqualCheckpoints(Checkpoint(run, 23), Checkpoint(Path("reference"), 23));
  }
  const auto refused = resumed_from(15, {"stages.0.steps=9"}).second;
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("was trained on different data"), std::string::npos) << refused.err;
  EXPECT_EQ(resumed_from(15, {"stages.2.steps=5", "stages.2.schedule.peak=2e-3"}).second.exit_code,
            0);
}

// A mixture that changes twice, over a source that comes back.
class MixtureRunTest : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    WriteText("c.txt", SomeText(3, 50));
    std::string config = Config();
    Replace(&config, "train: {steps: 40, ", "train: {");
    Replace(&config, "validation: {every: 10, batches: 2}", "validation: {every: 0}");
    Replace(&config, "checkpoint: {every: 10, keep: 100}", "checkpoint: {every: 2, keep: 100}");
    Replace(&config, "schedule: {type: constant, peak: 5e-3, warmup_steps: 4}",
            absl::StrCat(R"(stages:
  - {name: one, steps: 8, schedule: {type: constant, peak: 5e-3}}
  - name: two
    steps: 6
    document_boundary: none
    sources: [{dir: )",
                         Path("store_c"), ", text: [", Path("c.txt"),
                         "], document_separator: \"\\n\\n\", weight: 3}, {dir: ", Path("store_b"),
                         R"(, weight: 1}]
    schedule: {type: constant, peak: 5e-3}
  - {name: three, steps: 4, schedule: {type: linear, peak: 5e-3}})"));
    WriteText("config.yaml", config);
  }
};

TEST_F(MixtureRunTest, ResumesExactlyAcrossTheChange) {
  for (const int ranks : {1, 2}) {
    const std::string reference = Path(absl::StrCat("reference", ranks));
    const auto args = [&](const std::string& dir) {
      return TrainArgs(Path("config.yaml"), {"train.micro_batch=2", "run.dir=" + dir});
    };
    const ProcessResult whole = Wait(Start(args(reference), ranks));
    ASSERT_EQ(whole.exit_code, 0) << whole.err;
    EXPECT_NE(whole.out.find("its mixture: 75% " + Path("store_c/train.h5") +
                             " from epoch 0.00, 25% " + Path("store_b/train.h5") + " from epoch "),
              std::string::npos)
        << whole.out;
    const auto expected = Metrics(reference);
    ASSERT_EQ(expected.size(), 18u);
    // Before a change, and where the first mixture comes back; on two ranks, at a change.
    for (const int64_t step : ranks == 1 ? std::vector<int64_t>{6, 14} : std::vector<int64_t>{8}) {
      const std::string run = Path(absl::StrCat("run", ranks, "-", step));
      std::filesystem::copy(reference, run, std::filesystem::copy_options::recursive);
      for (int64_t later = step + 2; later <= 18; later += 2) {
        std::filesystem::remove_all(Checkpoint(run, later));
      }
      const ProcessResult resumed = Wait(Start(args(run), ranks));
      ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
      EXPECT_NE(resumed.out.find("resuming from " + Checkpoint(run, step)), std::string::npos);
      EXPECT_EQ(Metrics(run), expected);
      ExpectEqualCheckpoints(Checkpoint(run, 18), Checkpoint(reference, 18));
    }
  }
}

TEST_F(MixtureRunTest, AKilledRunContinuesAndPastMixturesAreKept) {
  ASSERT_EQ(Train({"run.dir=" + Path("reference")}).exit_code, 0);
  const Process process = Start(TrainArgs(Path("config.yaml"), {"stages.2.steps=1000"}));
  const bool saved = WaitUntil(process, [&] {
    return std::filesystem::exists(Checkpoint(Path("run"), 10) + "/manifest.json");
  });
  kill(process.pid, SIGKILL);
  EXPECT_EQ(Wait(process).exit_code, -1);
  ASSERT_TRUE(saved);
  for (int64_t later = 12; later < 1000; later += 2) {
    std::filesystem::remove_all(Checkpoint(Path("run"), later));
  }
  // The weights so far, and the text of a later mixture's source, are part of the position.
  for (const char* set :
       {"stages.1.sources.0.weight=2", "data.sources.0.weight=1", "stages.0.steps=9"}) {
    const ProcessResult refused = Train({set});
    EXPECT_EQ(refused.exit_code, 1) << set;
    EXPECT_NE(refused.err.find("was trained on different data"), std::string::npos) << refused.err;
  }
  ASSERT_EQ(Train().exit_code, 0);
  EXPECT_EQ(Metrics(Path("run")), Metrics(Path("reference")));
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 18), Checkpoint(Path("reference"), 18));
}

// The mixture of a stage to come may be chosen when the one before it is over.
TEST_F(MixtureRunTest, ABranchTakesAnotherMixture) {
  ASSERT_EQ(
      Train({"stages=[{name: one, steps: 8, schedule: {type: constant, peak: 5e-3}}]"}).exit_code,
      0);
  ASSERT_EQ(Train({"run.dir=" + Path("reference")}).exit_code, 0);
  const ProcessResult branch = Train();
  ASSERT_EQ(branch.exit_code, 0) << branch.err;
  EXPECT_EQ(Metrics(Path("run")), Metrics(Path("reference")));
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 18), Checkpoint(Path("reference"), 18));
}

}  // namespace
}  // namespace wyvern
