// Tests of output that cannot be written, by the program itself.
#include <sys/resource.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class PrintedOutputTest : public RunTest {
 protected:
  // With standard output going to `path`, or, without one, into a pipe that nobody reads.
  ProcessResult Run(const std::vector<std::string>& args, const char* path = nullptr) {
    std::string command = Binary();
    for (const std::string& arg : args) absl::StrAppend(&command, " '", arg, "'");
    if (path != nullptr) return Wait(StartCommand({"/bin/sh", "-c", command + " >" + path}));
    return Wait(StartCommand({"/bin/bash", "-c", command + " | true; exit ${PIPESTATUS[0]}"}));
  }
};

TEST_F(PrintedOutputTest, ResultsThatAreCutOffAreAnError) {
  ASSERT_EQ(Train({"train.steps=1", "schedule.warmup_steps=0"}).exit_code, 0);
  const std::string store = Path("store_a/val.h5");
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"config", "show", Path("config.yaml")},
        {"eval", Path("run"), "--data", store},
        {"eval", Path("run"), "--data", store, "--json"},
        {"generate", Path("run"), "--prompt", "a", "--max-tokens", "2"},
        {"score", Path("run"), WriteText("requests.jsonl", R"({"text": "delta"})")},
        {"data", "info", store},
        {"checkpoint", "info", Path("run")},
        {"--help"}}) {
    const ProcessResult full = Run(args, "/dev/full");
    EXPECT_EQ(full.exit_code, 1) << args[0];
    EXPECT_NE(full.err.find("cannot write standard output"), std::string::npos)
        << args[0] << ": " << full.err;
  }
  // Slow enough that the reader is gone.
  const ProcessResult left = Run({"eval", Path("run"), "--data", store});
  EXPECT_EQ(left.exit_code, 1);
  EXPECT_NE(left.err.find("Broken pipe"), std::string::npos) << left.err;
}

TEST_F(PrintedOutputTest, ATextThatNobodyReadsIsNotContinued) {
  ASSERT_EQ(Train({"train.steps=1", "schedule.warmup_steps=0"}).exit_code, 0);
  const ProcessResult left =
      Run({"generate", Path("run"), "--prompt", "a", "--max-tokens", "1000000"});
  EXPECT_EQ(left.exit_code, 1);
  EXPECT_NE(left.err.find("Broken pipe"), std::string::npos) << left.err;
}

TEST_F(PrintedOutputTest, ATrainingGoesOnWithoutItsReader) {
  const ProcessResult result = Run(TrainArgs(Path("config.yaml"), {}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("cannot write standard output: Broken pipe; training continues"),
            std::string::npos)
      << result.err;
  EXPECT_EQ(Metrics(Path("run")).size(), 41u);
  EXPECT_TRUE(std::filesystem::exists(Checkpoint(Path("run"), 40)));
}

// So that no launcher starts it again.
TEST_F(PrintedOutputTest, ATrainingWhoseOutputIsFullOrClosedIsDone) {
  const std::vector<std::string> args =
      TrainArgs(Path("config.yaml"), {"train.steps=2", "schedule.warmup_steps=0"});
  for (const char* output : {"/dev/full", "&-"}) {
    std::filesystem::remove_all(Path("run"));
    const ProcessResult first = Run(args, output);
    EXPECT_EQ(first.exit_code, 0) << output << ": " << first.err;
    EXPECT_NE(first.err.find("; training continues"), std::string::npos) << first.err;
    EXPECT_TRUE(std::filesystem::exists(Checkpoint(Path("run"), 2)));
    EXPECT_EQ(Metrics(Path("run")).size(), 3u);
    const ProcessResult finished = Run(args, output);
    EXPECT_EQ(finished.exit_code, 0) << output << ": " << finished.err;
    EXPECT_NE(finished.err.find("warning: cannot write standard output"), std::string::npos)
        << finished.err;
  }
}

// Printed text must not land in the first file that is opened.
TEST_F(PrintedOutputTest, AClosedOutputIsAnErrorOfOtherCommands) {
  const ProcessResult closed = Run({"config", "show", Path("config.yaml")}, "&-");
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_NE(closed.err.find("cannot write standard output"), std::string::npos) << closed.err;
}

TEST_F(PrintedOutputTest, ALimitOnFileSizesIsAFailedWrite) {
  ASSERT_EQ(Train({"train.steps=1", "schedule.warmup_steps=0"}).exit_code, 0);
  const ProcessResult result =
      Wait(StartCommand({"/bin/bash", "-c",
                         absl::StrCat("ulimit -f 20; exec ", Binary(), " train ",
                                      Path("config.yaml"), " --set run.dir=", Path("limited"))}));
  EXPECT_EQ(result.exit_code, 1) << result.out;
  EXPECT_NE(result.err.find("was not written"), std::string::npos) << result.err;
  EXPECT_TRUE(ListCheckpoints(Path("limited"))->empty());
}

}  // namespace
}  // namespace wyvern
