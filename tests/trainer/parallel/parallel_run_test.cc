// The program on several ranks: the same run whatever their number, from one checkpoint to the next
// on another mesh, and an end with a message when a rank is lost.
#include <sys/resource.h>

#include <csignal>
#include <regex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/parallel/rank_log.h"

namespace wyvern {
namespace {

class ParallelRunTest : public RunTest {
 protected:
  Process StartRanks(int ranks, std::vector<std::string> sets) {
    // Micro batches of 2 samples: each of 4 ranks has one.
    sets.push_back("train.micro_batch=2");
    return Start(TrainArgs(Path("config.yaml"), sets), ranks);
  }
  ProcessResult TrainRanks(int ranks, const std::vector<std::string>& sets) {
    return Wait(StartRanks(ranks, sets));
  }

  // The processes that the script has started, by rank; fewer while it has not started all.
  static std::vector<int> Children(const Process& process) {
    std::vector<int> pids;
    const std::string children =
        Read(absl::StrCat("/proc/", process.pid, "/task/", process.pid, "/children"));
    for (const std::string& pid :
         std::vector<std::string>(absl::StrSplit(children, ' ', absl::SkipEmpty()))) {
      pids.push_back(std::stoi(pid));
    }
    return pids;
  }
  // Files that the process writes from now on may be of that size.
  static void LimitFiles(int pid, rlim_t bytes) {
    rlimit limit = {bytes, RLIM_INFINITY};
    EXPECT_EQ(prlimit(pid, RLIMIT_FSIZE, &limit, nullptr), 0);
  }

  // Losses and norms of the steps that both have.
  void ExpectNear(const std::string& run, const std::string& reference) {
    const auto a = Metrics(run), b = Metrics(reference);
    ASSERT_FALSE(a.empty());
    for (const auto& [step, line] : a) {
      ASSERT_EQ(b.count(step), 1u) << step;
      const auto x = nlohmann::json::parse(line), y = nlohmann::json::parse(b.at(step));
      EXPECT_EQ(x["tokens"], y["tokens"]) << step;
      for (const char* key : {"loss", "val_loss"}) {
        ASSERT_EQ(x.contains(key), y.contains(key)) << key << " at " << step;
        if (!x.contains(key)) continue;
        EXPECT_NEAR(x[key].get<double>() / y[key].get<double>(), 1, 1e-4) << key << " at " << step;
      }
    }
  }
};

// MPI's libraries do not survive a fork everywhere.
TEST_F(ParallelRunTest, ARankOfSeveralMakesShardsWithoutWorkers) {
  const std::vector<std::string> sets = {"train.steps=5", "data.sources.0.shard_bytes=500",
                                         "data.sources.0.workers=2"};
  std::vector<std::string> alone = sets;
  alone.insert(alone.end(), {"run.dir=" + Path("alone"), "data.sources.0.dir=" + Path("forked")});
  const ProcessResult forked = Train(alone), result = TrainRanks(2, sets);
  ASSERT_EQ(forked.exit_code, 0) << forked.err;
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string note = "makes the shards in one process";
  EXPECT_EQ(forked.out.find(note), std::string::npos) << forked.out;
  EXPECT_NE(result.out.find(note), std::string::npos) << result.out;
  const std::string shard = "/shard-00000/train.h5";
  EXPECT_NE(Read(Path("store_a") + shard), "");
  EXPECT_EQ(Read(Path("store_a") + shard), Read(Path("forked") + shard));
}

TEST_F(ParallelRunTest, GoesOnFromItsCheckpointOnAnyMesh) {
  ASSERT_EQ(TrainRanks(1, {"train.steps=30", "run.dir=" + Path("reference")}).exit_code, 0);
  const auto part = [&](int ranks, int steps, std::vector<std::string> sets) {
    sets.push_back(absl::StrCat("train.steps=", steps));
    const ProcessResult result = TrainRanks(ranks, sets);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  };
  part(2, 10, {"parallel={shard: 2}"});
  const std::string second = part(1, 15, {});
  EXPECT_NE(second.find("resuming from"), std::string::npos) << second;
  EXPECT_NE(second.find("changed since then: parallel.shard: 2 -> 1"), std::string::npos) << second;
  part(4, 20, {"parallel={replicate: 2, shard: -1, zero: 2}"});
  // Samples cut in two.
  part(4, 22, {"parallel={replicate: -1, context: 2}"});
  part(2, 25, {});
  const std::string last = part(
      2, 30,
      {"parallel={shard: -1, replicate: 1, zero: 1}", "generate={prompt: 'delta ', tokens: 4}"});
  EXPECT_NE(last.find("sample: delta "), std::string::npos) << last;
  // One rank speaks.
  EXPECT_EQ(last.find("step 30/30"), last.rfind("step 30/30")) << last;
  auto metrics = Metrics(Path("run"));
  ASSERT_EQ(metrics.size(), 31u);
  // Each part measured the validation loss at its end.
  for (const int64_t step : {15, 22, 25}) {
    auto line = nlohmann::json::parse(metrics[step]);
    for (const char* key : {"val_loss", "val_bits_per_byte"}) line.erase(key);
    metrics[step] = line.dump();
  }
  WriteText("run/metrics.jsonl", [&] {
    std::string text;
    for (const auto& [step, line] : metrics) text += line + "\n";
    return text;
  }());
  ExpectNear(Path("run"), Path("reference"));
}

// A batch of 8 samples: three ranks cannot divide it evenly, nor in micro batches of 64.
TEST_F(ParallelRunTest, AnyNumberOfRanksDividesABatch) {
  const auto train = [&](int ranks, const std::string& micro_batch) {
    const std::string run = Path(absl::StrCat("run_", ranks, "_", micro_batch));
    const ProcessResult result = Wait(Start(
        TrainArgs(Path("config.yaml"), {"train.steps=8", "validation.every=8",
                                        "train.micro_batch=" + micro_batch, "run.dir=" + run}),
        ranks));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return run;
  };
  const std::string reference = train(1, "8");
  for (const int ranks : {2, 3, 4}) ExpectNear(train(ranks, "64"), reference);
  ExpectNear(train(3, "2"), reference);
  // The planned memory is there: all of the batch is one micro batch.
  const std::string automatic = train(1, "auto");
  EXPECT_EQ(Metrics(automatic), Metrics(reference));
  EXPECT_NE(Read(automatic + "/config.yaml").find("micro_batch: 8"), std::string::npos);
}

TEST_F(ParallelRunTest, TheSameRanksRepeatEveryBitAndResumeExactly) {
  const std::vector<std::string> mesh = {"parallel={shard: 2, zero: 3}", "train.steps=20"};
  const auto in = [&](const std::string& dir) {
    std::vector<std::string> sets = mesh;
    sets.push_back("run.dir=" + Path(dir));
    return sets;
  };
  ASSERT_EQ(TrainRanks(2, in("first")).exit_code, 0);
  // A signal to one rank stops all.
  const Process process = StartRanks(2, in("second"));
  WaitUntil(process, [&] { return Read(Path("second/metrics.jsonl")).size() > 500; });
  kill(process.pid, SIGTERM);
  const ProcessResult stopped = Wait(process);
  EXPECT_EQ(stopped.exit_code, 0) << stopped.err;
  EXPECT_NE(stopped.out.find("stopped by SIGTERM after step"), std::string::npos) << stopped.out;
  ASSERT_LT(Metrics(Path("second")).size(), 21u);
  ASSERT_EQ(TrainRanks(2, in("second")).exit_code, 0);
  EXPECT_EQ(Metrics(Path("first")), Metrics(Path("second")));
  ExpectEqualCheckpoints(Checkpoint(Path("first"), 20), Checkpoint(Path("second"), 20));
}

// A disk that is full for one of them, for a while.
TEST_F(ParallelRunTest, ARankThatCannotWriteCostsACheckpointAndNothingElse) {
  std::signal(SIGXFSZ, SIG_IGN);  // which the ranks inherit: a refused write is then an error
  const auto start = [&](const std::string& dir, const std::string& every) {
    return StartRanks(2, {"parallel={shard: 2, zero: 3}", "train.steps=100000",
                          "checkpoint.every=" + every, "run.dir=" + Path(dir)});
  };
  const auto last_step = [&] {
    const auto saved = ListCheckpoints(Path("run"));
    return saved.ok() && !saved->empty() ? saved->back().step : int64_t{0};
  };
  const Process process = start("run", "10");
  ASSERT_TRUE(WaitUntil(process, [&] { return last_step() > 0; }));
  const std::vector<int> pids = Children(process);
  ASSERT_EQ(pids.size(), 2u);
  LimitFiles(pids[1], 1000);
  const std::regex failed(
      "training continues without a checkpoint of step [0-9]+0: the checkpoint .* was not written, "
      "older ones are untouched: rank 1: ");
  EXPECT_TRUE(WaitUntil(process, [&] { return std::regex_search(Read(process.out), failed); }));
  const int64_t before = last_step();
  EXPECT_GT(before, 0);
  LimitFiles(pids[1], RLIM_INFINITY);
  EXPECT_TRUE(WaitUntil(process, [&] { return last_step() > before; }));
  kill(process.pid, SIGTERM);
  const ProcessResult stopped = Wait(process);
  EXPECT_EQ(stopped.exit_code, 0) << stopped.err;
  auto metrics = Metrics(Path("run"));
  const int64_t steps = metrics.rbegin()->first;
  ASSERT_EQ(TrainRanks(2, {"parallel={shard: 2, zero: 3}", absl::StrCat("train.steps=", steps),
                           "run.dir=" + Path("reference")})
                .exit_code,
            0);
  auto expected = Metrics(Path("reference"));
  // It measured the validation loss at its end.
  for (auto* lines : {&metrics, &expected}) {
    auto line = nlohmann::json::parse(lines->at(steps));
    for (const char* key : {"val_loss", "val_bits_per_byte"}) line.erase(key);
    (*lines)[steps] = line.dump();
  }
  EXPECT_EQ(metrics, expected);
  ExpectEqualCheckpoints(Checkpoint(Path("run"), steps), Checkpoint(Path("reference"), steps));

  // At the end of a run there is nothing to resume.
  const Process last = start("last", "0");
  ASSERT_TRUE(WaitUntil(last, [&] { return Read(Path("last/metrics.jsonl")).size() > 500; }));
  const std::vector<int> last_pids = Children(last);
  ASSERT_EQ(last_pids.size(), 2u);
  LimitFiles(last_pids[1], 1000);
  kill(last.pid, SIGTERM);
  const ProcessResult ended = Wait(last);
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_NE(ended.err.find("was not written, older ones are untouched: rank 1: "),
            std::string::npos)
      << ended.err;
  EXPECT_TRUE(ListCheckpoints(Path("last"))->empty());
  std::signal(SIGXFSZ, SIG_DFL);
}

// Its messages go out while the ranks compute, whatever the mesh.
TEST_F(ParallelRunTest, AStepAgreesOnce) {
  const std::string experts =
      "model.moe={num_experts: 4, experts_per_token: 2, intermediate_size: 16}";
  const std::vector<std::pair<int, std::vector<std::string>>> cases = {
      {2, {"parallel={shard: 2, zero: 2}"}},
      {4, {"parallel={replicate: 2, context: 2}"}},
      {4, {"parallel={shard: 2, expert: 4}", experts}},
      {8, {"parallel={shard: 4, zero: 1}", "train.batch_tokens=512"}}};
  for (auto [ranks, sets] : cases) {
    const std::string run = Path(absl::StrCat("run_", ranks, sets.size()));
    sets.insert(sets.end(), {"train.steps=4", "validation.every=0", "checkpoint.every=2",
                             "logging.every=2", "run.dir=" + run});
    const ProcessResult result = TrainRanks(ranks, sets);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    for (int rank = 0; rank < ranks; ++rank) {
      // One before the first step, one in each.
      EXPECT_NE(Read(RankLogPath(run, rank))
                    .find("ends after step 4, with 5 agreements beside its steps and 0 apart "),
                std::string::npos)
          << Read(RankLogPath(run, rank));
    }
  }
}

// The other rank learns of it in the step behind, which it does not finish.
TEST_F(ParallelRunTest, ALogThatCannotBeWrittenStopsAllAtOneStep) {
  std::signal(SIGXFSZ, SIG_IGN);
  const Process process = StartRanks(
      2, {"parallel={shard: 2}", "train.steps=100000", "checkpoint.every=0", "validation.every=0"});
  WaitUntil(process, [&] { return Read(Path("run/metrics.jsonl")).size() > 2000; });
  const std::vector<int> pids = Children(process);
  ASSERT_EQ(pids.size(), 2u);
  LimitFiles(pids[0], 1000);
  const ProcessResult result = Wait(process);
  EXPECT_EQ(result.exit_code, 1);
  for (const int rank : {0, 1}) {
    EXPECT_TRUE(std::regex_search(Read(RankLogPath(Path("run"), rank)),
                                  std::regex("Z fails: rank 0: .*metrics.jsonl")))
        << Read(RankLogPath(Path("run"), rank));
  }
  std::signal(SIGXFSZ, SIG_DFL);
}

// A rank that meets the damage tells the others one step ahead; the step that goes on is saved.
TEST_F(ParallelRunTest, DamagedDataStopAllAtOneStep) {
  WriteText("big.txt", SomeText(3, 30000));
  const Process process = StartRanks(
      2, {absl::StrCat("data.sources=[{dir: ", Path("big"), ", text: [", Path("big.txt"),
                       R"(], document_separator: "\n\n"}])"),
          "parallel={shard: 2}", "train.steps=100000", "checkpoint.every=0", "validation.every=0"});
  ASSERT_TRUE(WaitUntil(process, [&] { return Read(Path("run/metrics.jsonl")).size() > 500; }));
  std::filesystem::resize_file(Path("big/train.h5"), 100000);
  const ProcessResult result = Wait(process);
  EXPECT_EQ(result.exit_code, 1);
  for (const int rank : {0, 1}) {
    const std::string log = Read(RankLogPath(Path("run"), rank));
    EXPECT_TRUE(std::regex_search(log, std::regex("Z fails: rank [01]: .*train.h5: "))) << log;
  }
  const auto saved = ListCheckpoints(Path("run"));
  ASSERT_TRUE(saved.ok() && saved->size() == 1u);
  EXPECT_EQ(saved->back().step, Metrics(Path("run")).rbegin()->first);
}

TEST_F(ParallelRunTest, AMeshThatDoesNotFitIsOneMessage) {
  // A configuration that is wrong on any number of ranks ends with 2, and no launcher repeats it.
  const auto fails = [&](const std::vector<std::string>& sets, const std::string& message,
                         int exit_code = 1) {
    const ProcessResult result = TrainRanks(2, sets);
    EXPECT_EQ(result.exit_code, exit_code) << message;
    // Rank 0 says all of it, the other one one line.
    int of_rank_0 = 0, of_rank_1 = 0;
    for (const std::string& line : std::vector<std::string>(absl::StrSplit(result.err, '\n'))) {
      const bool ended = line.find("wyvern: rank 1 of 2 (") == 0 &&
                         line.find("): ended with rank 0, which says: ") != std::string::npos;
      of_rank_1 += ended ? 1 : 0;
      of_rank_0 += !ended && line.find(message) != std::string::npos ? 1 : 0;
    }
    EXPECT_EQ(of_rank_0, 1) << result.err;
    EXPECT_EQ(of_rank_1, 1) << result.err;
  };
  fails({"parallel={shard: 3}"},
        "parallel: replicate -1 x shard 3: the sizes that are given make 3, which does not divide "
        "the 2 ranks of this run");
  fails({"parallel={replicate: 4}"}, "replicate 4 x shard 1 makes 4 ranks, but this run has 2");
  fails({"train.batch_tokens=32"},
        "train.batch_tokens: a batch of 1 samples does not reach for 2 ranks");
  fails({"parallel={context: 3}"},
        "parallel: replicate -1 x shard 1 x context 3: the sizes that are given make 3, which does "
        "not divide the 2 ranks of this run");
  fails({"parallel={replicate: 1, shard: -1, context: -1}"},
        "parallel.shard: -1 stands for what the others leave of the ranks, and 2 of replicate, ",
        2);
  fails({"parallel={zero: 2}"}, "parallel.zero: has no effect with shard: 1", 2);
  // All ranks stop for what one rank finds.
  fails({"data.sources.0.text=[/nowhere.txt]"}, "wyvern: rank 0: ");
}

TEST_F(ParallelRunTest, ALostRankEndsTheOthers) {
  const Process process = StartRanks(2, {"parallel={shard: 2, timeout: 5}", "train.steps=100000"});
  WaitUntil(process, [&] { return Read(Path("run/metrics.jsonl")).size() > 500; });
  const std::vector<int> pids = Children(process);
  ASSERT_EQ(pids.size(), 2u);
  kill(pids[1], SIGKILL);
  const ProcessResult result = Wait(process);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_TRUE(std::regex_search(
      result.err,
      std::regex("rank 0 of 2 \\(.*\\): step [0-9]+, [a-z ]+: .* over '[a-z]+': waiting for "
                 "rank 1: ")))
      << result.err;
}

}  // namespace
}  // namespace wyvern
