#include "trainer/loop/run_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "data/io/file.h"
#include "tests/data/data_fixture.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/report/metrics_file.h"

namespace wyvern {
namespace {

class RunLogTest : public DataTest {
 protected:
  RunPlan Plan() const {
    RunConfig config;
    config.run.name = "tiny";
    config.run.dir = Path("run");
    config.run.device = Device::kCpu;
    config.model = TinyConfig(50);
    config.data.seq_len = 16;
    config.train = {.steps = 2, .batch_tokens = 16};
    return *ResolveRun(config);
  }
};

TEST_F(RunLogTest, WritesNothingUntilItIsOpened) {
  RunLog log;
  testing::internal::CaptureStdout();
  EXPECT_TRUE(log.Append({.step = 1, .loss = 2}).ok());
  log.Show({.step = 1, .loss = 2}, 1, 1);
  log.Line("a line");
  log.CheckOutput();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
}

TEST_F(RunLogTest, KeepsTheLinesBeforeTheStepItStartsFrom) {
  ASSERT_TRUE(MakeFolders(Path("run")).ok());
  for (const int64_t first_step : {0, 1}) {
    RunLog log;
    ASSERT_TRUE(log.Open(Plan(), first_step).ok());
    for (int64_t step = first_step + 1; step <= 2; ++step) {
      ASSERT_TRUE(log.Append({.step = step, .loss = static_cast<double>(step)}).ok());
    }
    ASSERT_TRUE(log.Sync().ok());
    const std::string lines = *ReadFile(Path("run/metrics.jsonl"));
    std::vector<double> elapsed;
    for (const MetricsLine& line : ParseMetrics(lines).lines) {
      EXPECT_EQ(line.row["loss"], static_cast<double>(line.step));
      EXPECT_TRUE(std::regex_match(line.row["time"].get<std::string>(),
                                   std::regex("20\\d\\d-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ")));
      elapsed.push_back(line.row["elapsed_s"]);
    }
    ASSERT_EQ(elapsed.size(), 2u);
    EXPECT_GE(elapsed[1], elapsed[0]);
    EXPECT_LT(elapsed[1], 100);
  }
  EXPECT_TRUE(std::filesystem::exists(Path("run/config.yaml")));
  EXPECT_TRUE(std::filesystem::exists(Path("run/tensorboard")));
}

// A resumed run continues the clock of the line it starts from, and a file without one at 0.
TEST_F(RunLogTest, TheTimeOfAResumedRunContinues) {
  ASSERT_TRUE(MakeFolders(Path("run")).ok());
  WriteText("run/metrics.jsonl",
            "{\"step\":1,\"loss\":1,\"elapsed_s\":1000.5}\n{\"step\":2,\"elapsed_s\":2000}\n");
  RunLog log;
  ASSERT_TRUE(log.Open(Plan(), 1).ok());
  ASSERT_TRUE(log.Append({.step = 2}).ok());
  const std::string lines = *ReadFile(Path("run/metrics.jsonl"));
  const double elapsed = ParseMetrics(lines).lines.at(1).row["elapsed_s"];
  EXPECT_GE(elapsed, 1000.5);
  EXPECT_LT(elapsed, 1100);
}

}  // namespace
}  // namespace wyvern
