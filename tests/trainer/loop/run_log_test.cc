#include "trainer/loop/run_log.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "data/io/file.h"
#include "tests/data/data_fixture.h"
#include "tests/trainer/tiny_model.h"

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
    EXPECT_EQ(*ReadFile(Path("run/metrics.jsonl")),
              "{\"step\":1,\"tokens\":0,\"loss\":1.0}\n{\"step\":2,\"tokens\":0,\"loss\":2.0}\n");
  }
  EXPECT_TRUE(std::filesystem::exists(Path("run/config.yaml")));
  EXPECT_TRUE(std::filesystem::exists(Path("run/tensorboard")));
}

}  // namespace
}  // namespace wyvern
