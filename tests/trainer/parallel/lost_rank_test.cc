// Ranks that die, hang or are slow, over TCP, MPI and NCCL: the others end with a message that
// names rank, step and operation, and the logs say who it was.
#include <regex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/runtime/gpu.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/parallel/rank_log.h"

namespace wyvern {
namespace {

// parallel.timeout in seconds: so long that no busy machine makes a healthy rank miss it.
constexpr int kTimeout = 8;

class LostRankTest : public RunTest {
 protected:
  LostRankTest() { own_group_ = true; }
  ~LostRankTest() override { unsetenv("WYVERN_FAULT"); }

  // Micro batches of 2 samples: each of 4 ranks has one.
  Process StartWithFault(const std::string& launcher, int ranks, const std::string& fault,
                         std::vector<std::string> sets) {
    setenv("WYVERN_FAULT", fault.c_str(), 1);
    sets.push_back("train.micro_batch=2");
    const std::vector<std::string> args = TrainArgs(Path("config.yaml"), sets);
    if (launcher == "tcp") return Start(args, ranks);
    std::vector<std::string> all = {launcher,          "-n",        absl::StrCat(ranks),
                                    "--oversubscribe", "--bind-to", "none"};
    if (getuid() == 0) all.push_back("--allow-run-as-root");
    all.push_back(Binary());
    all.insert(all.end(), args.begin(), args.end());
    return StartCommand(all);
  }

  std::string Log(int rank) { return Read(RankLogPath(Path("run"), rank)); }

  pid_t PidOf(int rank) {
    std::smatch found;
    const std::string log = Log(rank);
    return std::regex_search(log, found, std::regex(", process ([0-9]+)"))
               ? static_cast<pid_t>(std::stoi(found[1]))
               : 0;
  }

  // No zombie either, which the script that started it has not waited for yet.
  static bool Runs(pid_t pid) {
    const std::string state = Read(absl::StrCat("/proc/", pid, "/stat"));
    return !state.empty() && state.find(") Z ") == std::string::npos;
  }

  static void ExpectMatch(const std::string& text, const std::string& pattern) {
    EXPECT_TRUE(std::regex_search(text, std::regex(pattern))) << pattern << "\nis not in\n" << text;
  }

  // The text on stderr when the other ranks have ended; then the hanging one continues, to meet
  // closed connections, or is killed.
  std::string EndOfOthers(const Process& process, int ranks, int hanging, int signal) {
    WaitUntil(process, [&] {
      for (int rank = 0; rank < ranks; ++rank) {
        const pid_t pid = rank == hanging ? 0 : PidOf(rank);
        if (rank != hanging && (pid == 0 || Runs(pid))) return false;
      }
      return true;
    });
    const std::string err = Read(process.err);
    kill(PidOf(hanging), signal);
    if (signal != SIGCONT) kill(PidOf(hanging), SIGCONT);
    EXPECT_NE(Wait(process).exit_code, 0);
    return err;
  }
};

TEST_F(LostRankTest, AKilledRankIsNamedWithStepAndOperation) {
  const Process process =
      StartWithFault("tcp", 4, "rank=2,step=3,phase=forward and backward,do=kill",
                     {"parallel={shard: 2, zero: 1}"});
  const ProcessResult result = Wait(process);
  EXPECT_NE(result.exit_code, 0);
  ExpectMatch(result.err,
              "rank [013] of 4 \\(.*\\): step 3, [a-z ]+: [a-z_]+ over '[a-z]+': waiting for rank "
              "2: (it closed the connection|the connection broke)");
  for (const int rank : {0, 1, 3}) {
    // Who lost another rank than that one says who that was.
    ExpectMatch(Log(rank), "Z fails: rank .*: step 3, .*: waiting for rank [0-3]: ");
    ExpectMatch(Log(rank), "rank 2");
  }
  EXPECT_EQ(Log(2).find("fails:"), std::string::npos) << Log(2);
}

TEST_F(LostRankTest, AHangingRankIsFoundAmongTheWaiting) {
  const Process process =
      StartWithFault("tcp", 4, "rank=2,step=3,phase=forward and backward,do=hang",
                     {absl::StrCat("parallel={replicate: 4, timeout: ", kTimeout, "}")});
  const std::string err = EndOfOthers(process, 4, 2, SIGCONT);
  ExpectMatch(err, absl::StrCat("rank [013] of 4 \\(.*\\): step 3, forward and backward: "
                                "all_reduce over '[a-z]+': waiting for rank [0-3]: no answer "
                                "within ",
                                kTimeout, " s"));
  ExpectMatch(err, "suspect \\(not waiting, not failed\\): rank 2 \\(.*\\), whose log ends with '");
  for (const int rank : {0, 1, 3}) {
    ExpectMatch(Log(rank), "Z waits: step 3, forward and backward: all_reduce over ");
    ExpectMatch(Log(rank), "Z others: suspect \\(not waiting, not failed\\): rank 2 ");
  }
  ExpectMatch(Log(2), "Z fails: rank 2 of 4 \\(.*\\): step 3, .*closed|broke");
}

TEST_F(LostRankTest, ARankThatEndsWithoutAWordIsNamed) {
  const Process process = StartWithFault("tcp", 2, "rank=1,step=4,phase=update,do=exit", {});
  const ProcessResult result = Wait(process);
  EXPECT_NE(result.exit_code, 0);
  // Behind the update there is no more exchange in a step.
  ExpectMatch(result.err, "rank 0 of 2 \\(.*\\): step [45], [a-z ]+: .* waiting for rank 1: ");
}

TEST_F(LostRankTest, OverMpiAKilledRankIsNamed) {
#ifndef WYVERN_MPIRUN
  GTEST_SKIP() << "this build has no MPI, or mpirun is not installed";
#else
  const ProcessResult result = Wait(
      StartWithFault(WYVERN_MPIRUN, 2, "rank=1,step=3,phase=forward and backward,do=kill", {}));
  EXPECT_NE(result.exit_code, 0);
  // mpirun tells the others to end, and kills them a second later, that of Open MPI 5 much sooner.
  ExpectMatch(result.err,
              "rank 0 of 2 \\(.*\\): step 3, forward and backward: all_reduce over '[a-z]+': still "
              "waiting for rank 1 after SIGTERM came");
#endif
}

TEST_F(LostRankTest, OverMpiAHangingRankEndsTheRun) {
#ifndef WYVERN_MPIRUN
  GTEST_SKIP() << "this build has no MPI, or mpirun is not installed";
#else
  const ProcessResult result = Wait(StartWithFault(
      WYVERN_MPIRUN, 3, "rank=1,step=3,phase=update,do=hang",
      {absl::StrCat("parallel={replicate: 1, shard: 3, zero: 1, timeout: ", kTimeout, "}"),
       "train.batch_tokens=192"}));
  EXPECT_NE(result.exit_code, 0);
  ExpectMatch(result.err, absl::StrCat("rank [02] of 3 \\(.*\\): step [34], [a-z ]+: [a-z_]+ over "
                                       "'[a-z]+': waiting for rank [0-2]: no answer within ",
                                       kTimeout, " s"));
  ExpectMatch(result.err, "suspect \\(not waiting, not failed\\): rank 1 ");
#endif
}

TEST_F(LostRankTest, OnGpusAHangingRankEndsTheOthers) {
  if (GpuCount() < 2) GTEST_SKIP() << "no two GPUs";
  const int timeout = 30;  // NCCL's start is part of it
  const Process process =
      StartWithFault("tcp", 2, "rank=1,step=3,phase=forward and backward,do=hang",
                     {"run.device=cuda", "run.precision=fp32",
                      absl::StrCat("parallel={shard: 2, zero: 3, timeout: ", timeout, "}")});
  const std::string err = EndOfOthers(process, 2, 1, SIGKILL);
  ExpectMatch(err, absl::StrCat("rank 0 of 2 \\(.*\\): step 3, forward and backward: [a-z_]+ over "
                                "'[a-z]+' \\(rank 0 of 2\\): not done within ",
                                timeout, " s"));
  ExpectMatch(err, "suspect \\(not waiting, not failed\\): rank 1 ");
}

TEST_F(LostRankTest, OnGpusAKilledRankEndsTheOthers) {
  if (GpuCount() < 2) GTEST_SKIP() << "no two GPUs";
  const ProcessResult result = Wait(StartWithFault(
      "tcp", 2, "rank=1,step=3,phase=forward and backward,do=kill",
      {"run.device=cuda", "run.precision=fp32", "parallel={shard: 2, zero: 3, timeout: 30}"}));
  EXPECT_NE(result.exit_code, 0);
  // NCCL notices a lost peer itself over a network; within a host the time-out does.
  ExpectMatch(result.err, "rank 0 of 2 \\(.*\\): step 3, [a-z ]+: [a-z_]+ over '[a-z]+'");
}

TEST_F(LostRankTest, OthersWaitForASlowRank) {
  const int steps = 6;
  const ProcessResult result = Wait(StartWithFault(
      "tcp", 2, "rank=1,do=slow:0.4", {absl::StrCat("train.steps=", steps), "logging.every=1"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  int named = 0;
  for (const std::string& line : std::vector<std::string>(
           absl::StrSplit(Read(Path("run/metrics.jsonl")), '\n', absl::SkipEmpty()))) {
    const auto json = nlohmann::json::parse(line);
    if (json["step"] == 0) continue;  // the model before training
    ASSERT_TRUE(json.contains("waiting")) << line;
    EXPECT_GE(json["waiting"], json["waiting_slowest"]) << line;
    EXPECT_LE(json["waiting"], 1.0) << line;
    if (json["slowest_rank"] == 1) ++named;
  }
  // A busy machine may hold up the other rank in some step.
  EXPECT_GT(named, steps / 2);
  ExpectMatch(result.out, "waiting [0-9]+% \\(rank 1: [0-9]+%\\)");
  for (const int rank : {0, 1}) ExpectMatch(Log(rank), "Z step 6: waited [0-9.]+% ");
}

}  // namespace
}  // namespace wyvern
