// Training as the program does it: it learns, says what it did, and takes steps that are not finite
// as the policy says.
#include <cmath>
#include <regex>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

using TrainTest = RunTest;

TEST_F(TrainTest, LearnsAndLeavesACompleteRunFolder) {
  const ProcessResult result = Train({"generate={prompt: 'delta ', tokens: 8, temperature: 0}"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto metrics = Metrics(Path("run"));
  ASSERT_EQ(metrics.size(), 41u);
  const auto first = nlohmann::json::parse(metrics.at(0));
  const auto last = nlohmann::json::parse(metrics.at(40));
  EXPECT_EQ(last["tokens"], 40 * 256);
  EXPECT_NEAR(first["val_loss"].get<double>(), std::log(258), 0.1);
  EXPECT_LT(last["val_loss"].get<double>(), 0.7 * first["val_loss"].get<double>());
  EXPECT_LT(last["loss"].get<double>(), 0.7 * first["val_loss"].get<double>());
  EXPECT_EQ(last["lr"], 5e-3);
  EXPECT_FALSE(nlohmann::json::parse(metrics.at(7)).contains("val_loss"));
  EXPECT_TRUE(nlohmann::json::parse(metrics.at(10)).contains("val_loss"));
  EXPECT_NE(result.out.find("sample: delta "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("run/report.html"), std::string::npos) << result.out;
  const std::string tail = result.out.substr(result.out.rfind("validation loss: "));
  EXPECT_NE(tail.find(" fell by "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("step 40/40  loss"), std::string::npos) << result.out;
  for (const char* name : {"config.yaml", "metrics.jsonl", "report.html", "tensorboard"}) {
    EXPECT_TRUE(std::filesystem::exists(Path("run/") + name)) << name;
  }
  // The saved configuration is the run's: training it again finds the run finished.
  EXPECT_NE(Wyvern({"train", Path("run/config.yaml")}).out.find("this run is finished"),
            std::string::npos);
}

TEST_F(TrainTest, AccumulationRecomputationAndMaskingRun) {
  const ProcessResult whole =
      Train({"train.steps=3", "train.micro_batch=8", "schedule.warmup_steps=1"});
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const ProcessResult parts =
      Train({"train.steps=3", "train.micro_batch=2", "train.recompute_blocks=2",
             "schedule.warmup_steps=1", "run.dir=" + Path("parts")});
  ASSERT_EQ(parts.exit_code, 0) << parts.err;
  // Documents end inside samples, so the micro batches count different numbers of targets; with one
  // denominator for the step their sum is the whole batch's mean.
  const auto a = Metrics(Path("run")), b = Metrics(Path("parts"));
  for (int64_t step = 1; step <= 3; ++step) {
    const auto x = nlohmann::json::parse(a.at(step)), y = nlohmann::json::parse(b.at(step));
    EXPECT_NEAR(x["loss"].get<double>(), y["loss"].get<double>(), 1e-5) << step;
    EXPECT_NEAR(x["grad_norm"].get<double>(), y["grad_norm"].get<double>(), 1e-4) << step;
  }
}

TEST_F(TrainTest, RecomputationChangesNoLoss) {
  for (const char* policy : {"none", "fused", "elementwise", "projections"}) {
    const ProcessResult result =
        Train({"train.steps=3", "train.micro_batch=8", "schedule.warmup_steps=1",
               absl::StrCat("train.recompute=", policy), "run.dir=" + Path(policy)});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto last = nlohmann::json::parse(Metrics(Path(policy)).at(3));
    const auto kept = nlohmann::json::parse(Metrics(Path("none")).at(3));
    EXPECT_EQ(last["loss"], kept["loss"]) << policy;
    EXPECT_EQ(last["grad_norm"], kept["grad_norm"]) << policy;
  }
}

// A rate at which the weights overflow within a few updates.
const std::vector<std::string> kDiverging = {"schedule={type: constant, peak: 1e37}",
                                             "train.steps=6", "train.grad_clip=0"};

TEST_F(TrainTest, StepsThatAreNotFiniteAreSkippedAndCounted) {
  const ProcessResult result = Train(kDiverging);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("this update is skipped"), std::string::npos) << result.out;
  int64_t skipped = 0;
  for (const auto& [step, line] : Metrics(Path("run"))) {
    skipped += nlohmann::json::parse(line).contains("skipped") ? 1 : 0;
  }
  EXPECT_GT(skipped, 0);
  const auto checkpoint = OpenCheckpoint(Path("run"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->meta["training"]["step"], 6);
  EXPECT_EQ(checkpoint->meta["training"]["updates"], 6 - skipped);
}

TEST_F(TrainTest, ThePolicyStopNamesStepAndTensorAndKeepsWhatWasLearned) {
  std::vector<std::string> sets = kDiverging;
  sets.push_back("train.nonfinite=stop");
  const ProcessResult result = Train(sets);
  EXPECT_EQ(result.exit_code, 1);
  std::smatch match;
  ASSERT_TRUE(std::regex_search(
      result.err, match, std::regex("step ([0-9]+): the (loss|gradient of [a-z0-9_.]+|norm)")))
      << result.err;
  EXPECT_NE(result.err.find("is not finite (train.nonfinite: stop)"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(Checkpoint(Path("run"), std::stol(match[1]) - 1)));
}

TEST_F(TrainTest, ARunThatCannotLearnFails) {
  const ProcessResult blind =
      Train({"model.initializer_range=1e38", "train.steps=2", "schedule.warmup_steps=1"});
  EXPECT_EQ(blind.exit_code, 1);
  EXPECT_NE(blind.err.find("validation loss before training is not a finite number"),
            std::string::npos)
      << blind.err;
  const ProcessResult unseen = Train({"model.initializer_range=1e38", "train.steps=2",
                                      "schedule.warmup_steps=1", "validation.every=0"});
  EXPECT_EQ(unseen.exit_code, 1);
  EXPECT_NE(unseen.err.find("all 2 updates were skipped"), std::string::npos) << unseen.err;
}

// The micro batch is a matter of memory.
TEST_F(TrainTest, ValidationDoesNotDependOnTheMicroBatch) {
  std::vector<double> losses;
  for (const char* micro_batch : {"1", "2", "8"}) {
    const std::string run = Path(micro_batch);
    const ProcessResult result =
        Train({"run.dir=" + run, absl::StrCat("train.micro_batch=", micro_batch), "train.steps=1",
               "schedule.warmup_steps=0", "validation.batches=1", "data.seq_len=8"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto line = nlohmann::json::parse(Metrics(run).at(0));
    losses.push_back(line["val_loss"].get<double>());
  }
  EXPECT_EQ(losses[1], losses[0]);
  EXPECT_EQ(losses[2], losses[0]);
}

}  // namespace
}  // namespace wyvern
