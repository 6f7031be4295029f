// Signals that come while no step is running.
#include <sys/stat.h>

#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class StopAtOnceTest : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    // Whoever reads it waits.
    std::filesystem::remove(Path("a.txt"));
    ASSERT_EQ(mkfifo(Path("a.txt").c_str(), 0600), 0);
  }

  // Sends the signal once the program prepares its data.
  ProcessResult StopWhilePreparing(const Process& process, int signal) {
    EXPECT_TRUE(WaitUntil(process, [&] {
      return Read(process.out).find("data: preparing") != std::string::npos;
    })) << Read(process.err);
    kill(process.pid, signal);
    return Wait(process);
  }
};

TEST_F(StopAtOnceTest, APreparationEndsWithTheDocumentedCodeAndBeginsAnew) {
  const std::vector<std::pair<int, int>> codes = {
      {SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 129}, {SIGUSR1, 0}};
  for (const auto& [signal, code] : codes) {
    const ProcessResult result =
        StopWhilePreparing(Start(TrainArgs(Path("config.yaml"), {"train.steps=5"})), signal);
    EXPECT_EQ(result.exit_code, code) << signal;
    const char* name = signal == SIGINT    ? "SIGINT"
                       : signal == SIGTERM ? "SIGTERM"
                       : signal == SIGHUP  ? "SIGHUP"
                                           : "SIGUSR1";
    EXPECT_EQ(result.err, absl::StrCat("wyvern: stopped by ", name, ", while no step was running; ",
                                       "the same command goes on from what is saved\n"));
  }
  std::filesystem::remove(Path("a.txt"));
  WriteText("a.txt", SomeText(1, 60));
  const ProcessResult done = Train({"train.steps=5"});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("store_a"))) {
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  }
}

TEST_F(StopAtOnceTest, SoDoesASweepThatPreparesItsData) {
  WriteText("sweep.yaml", absl::StrCat("name: s\ndir: ", Path("sweep"), "\nbase: ",
                                       Path("config.yaml"), "\naxes: [{list: {run.seed: [1]}}]\n"));
  const ProcessResult result = StopWhilePreparing(Start({"sweep", Path("sweep.yaml")}), SIGTERM);
  EXPECT_EQ(result.exit_code, 143) << result.err;
  EXPECT_EQ(result.err.rfind("wyvern: stopped by SIGTERM", 0), 0u) << result.err;
}

TEST_F(StopAtOnceTest, ARankThatWaitsForTheOthersEndsSo) {
  const Process rank =
      StartCommand({"/usr/bin/env", "RANK=0", "WORLD_SIZE=2", "LOCAL_RANK=0",
                    "MASTER_ADDR=127.0.0.1", absl::StrCat("MASTER_PORT=", 20000 + getpid() % 20000),
                    Binary(), "train", Path("config.yaml")});
  // It says for whom it waits after some seconds; it listens long before.
  ASSERT_TRUE(WaitUntil(rank, [&] {
    return Read(absl::StrCat("/proc/", rank.pid, "/cmdline")).rfind(Binary(), 0) == 0 &&
           Read(absl::StrCat("/proc/", rank.pid, "/status")).find("SigCgt:\t0000000000000000") ==
               std::string::npos;
  }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  kill(rank.pid, SIGINT);
  const ProcessResult result = Wait(rank);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_NE(result.err.find("wyvern: stopped by SIGINT"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace wyvern
