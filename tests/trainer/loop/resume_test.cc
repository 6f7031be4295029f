// Exact resumption, by the program itself: whatever interrupts a run, the steps that follow have
// the digits of the uninterrupted one and the final tensors its bytes.
#include <array>
#include <csignal>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class ResumeTest : public RunTest {
 protected:
  // The uninterrupted run, in a folder of its own.
  void TrainReference() {
    const ProcessResult result = Train({"run.dir=" + Path("reference")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    expected_ = Metrics(Path("reference"));
    ASSERT_EQ(expected_.size(), 41u);  // step 0 has the first validation loss
  }

  void ExpectEqualsReference(const std::string& run) {
    EXPECT_EQ(Metrics(run), expected_);
    ExpectEqualCheckpoints(Checkpoint(run, 40), Checkpoint(Path("reference"), 40));
  }

  // Takes "parent" from a line of the metrics.
  static nlohmann::json TakeParent(std::string* line) {
    nlohmann::json json = nlohmann::json::parse(*line), parent = json["parent"];
    json.erase("parent");
    *line = json.dump();
    return parent;
  }

  std::map<int64_t, std::string> expected_;
};

TEST_F(ResumeTest, AKilledRunGoesOnWithTheSameDigits) {
  TrainReference();
  // 40 steps of 8 samples; the stores are small enough that both begin anew several times.
  for (const char* name : {"store_a", "store_b"}) {
    const auto store = TokenStore::Open(Path(name) + "/train.h5");
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_LT((*store)->num_tokens() / 32, 40 * 8 * 2 / 5);
  }
  const Process process = Start(TrainArgs(Path("config.yaml"), {}));
  const bool saved = WaitUntil(process, [&] {
    return std::filesystem::exists(Checkpoint(Path("run"), 10) + "/manifest.json");
  });
  kill(process.pid, SIGKILL);
  EXPECT_EQ(Wait(process).exit_code, -1) << "the run ended before it could be killed";
  ASSERT_TRUE(saved);
  ASSERT_FALSE(std::filesystem::exists(Checkpoint(Path("run"), 40)));

  const ProcessResult resumed = Train();
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("resuming from"), std::string::npos) << resumed.out;
  ExpectEqualsReference(Path("run"));

  // The console's lines are kept over the kill.
  const std::string log = Read(Path("run/console.log"));
  EXPECT_EQ(log.find("started at 20"), 0u);
  EXPECT_NE(log.find("\nstarted at 20", 1), std::string::npos);
  for (const char* line :
       {"\nstep 10/40  loss ", "\nresuming from ", "\nstep 40/40  loss ", "\nreport:     "}) {
    EXPECT_NE(log.find(line), std::string::npos) << line;
  }

  // A finished run says so and changes nothing.
  const ProcessResult again = Train();
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.out.find("this run is finished: all 40 steps are done"), std::string::npos);
  EXPECT_EQ(Metrics(Path("run")), expected_);
}

TEST_F(ResumeTest, AShorterRunGoesOnWhenGivenMoreSteps) {
  TrainReference();
  ASSERT_EQ(Train({"train.steps=13"}).exit_code, 0);
  const ProcessResult more = Train();
  ASSERT_EQ(more.exit_code, 0) << more.err;
  EXPECT_NE(more.out.find("changed since then: train.steps: 13 -> 40"), std::string::npos)
      << more.out;
  // The shorter run measured the validation loss at its end, the long one did not.
  auto metrics = Metrics(Path("run"));
  auto line = nlohmann::json::parse(metrics[13]);
  for (const char* key : {"val_loss", "val_bits_per_byte"}) line.erase(key);
  metrics[13] = line.dump();
  EXPECT_EQ(metrics, expected_);
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("reference"), 40));
}

TEST_F(ResumeTest, ASignalFinishesTheStepSavesAndIsTheExitCode) {
  TrainReference();
  // mpirun passes the last one on, and takes any other code for a failure.
  const std::vector<std::tuple<int, std::string, int>> signals = {{SIGTERM, "SIGTERM", 143},
                                                                  {SIGINT, "SIGINT", 130},
                                                                  {SIGHUP, "SIGHUP", 129},
                                                                  {SIGUSR1, "SIGUSR1", 0}};
  for (const auto& [signal, name, code] : signals) {
    const std::string run = Path(absl::StrCat("run", signal));
    const std::vector<std::string> sets = {"checkpoint.every=0", "run.dir=" + run};
    const Process process = Start(TrainArgs(Path("config.yaml"), sets));
    WaitUntil(process, [&] { return Read(run + "/metrics.jsonl").size() > 800; });
    kill(process.pid, signal);
    const ProcessResult stopped = Wait(process);
    EXPECT_EQ(stopped.exit_code, code) << stopped.err;
    EXPECT_NE(stopped.out.find("stopped by " + name + " after step"), std::string::npos)
        << stopped.out;
    const auto so_far = Metrics(run);
    ASSERT_LT(so_far.size(), expected_.size());
    EXPECT_TRUE(std::filesystem::exists(Checkpoint(run, so_far.rbegin()->first)));
    ASSERT_EQ(Train(sets).exit_code, 0);
    ExpectEqualsReference(run);
  }
}

// As under nohup.
TEST_F(ResumeTest, AnIgnoredHangUpStaysIgnored) {
  const auto handler = std::signal(SIGHUP, SIG_IGN);
  const Process process = Start(TrainArgs(Path("config.yaml"), {}));
  std::signal(SIGHUP, handler);
  WaitUntil(process, [&] { return Read(Path("run/metrics.jsonl")).size() > 800; });
  kill(process.pid, SIGHUP);
  EXPECT_EQ(Wait(process).exit_code, 0);
  EXPECT_EQ(Metrics(Path("run")).size(), 41u);
}

TEST_F(ResumeTest, TheSameDataMayLieElsewhere) {
  TrainReference();
  ASSERT_EQ(Train({"train.steps=20"}).exit_code, 0);
  std::filesystem::rename(Path("store_a"), Path("moved a"));
  const std::string sources =
      absl::StrCat("data.sources=[{dir: \"", Path("moved a"), "\", text: [", Path("a.txt"),
                   "], document_separator: \"\\n\\n\", weight: 2}, {dir: ", Path("./store_b/"),
                   ", text: [", Path("b.txt"), "], document_separator: \"\\n\\n\", weight: 3}]");
  const ProcessResult resumed = Train({sources});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("reference"), 40));
  // A link to a copy of it is the same, too.
  std::filesystem::copy(Path("store_b"), Path("copy"), std::filesystem::copy_options::recursive);
  std::filesystem::create_directory_symlink(Path("copy"), Path("link"));
  const ProcessResult linked =
      Train({sources, "data.sources.1.dir=" + Path("link/"), "train.steps=41"});
  EXPECT_EQ(linked.exit_code, 0) << linked.err;
  // Other data at the same place is another matter, and so is another order.
  std::filesystem::remove_all(Path("store_b"));
  WriteText("b.txt", SomeText(9, 40));
  const ProcessResult refused = Train({sources, "train.steps=50"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("was trained on different data"), std::string::npos) << refused.err;
}

TEST_F(ResumeTest, ADamagedCheckpointIsNamedWhenItIsPassedOver) {
  ASSERT_EQ(Train({"train.steps=20"}).exit_code, 0);
  const std::string newest = Checkpoint(Path("run"), 20);
  const std::string shard = newest + "/rank-00000-00000.h5";
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
  const std::string named = "passed over " + newest + ": the shard rank-00000-00000.h5";
  for (const ProcessResult& result :
       {Wyvern({"generate", Path("run"), "--prompt", "a", "--max-tokens", "1"}),
        Wyvern({"eval", Path("run"), "--data", Path("store_a/val.h5")}),
        Wyvern({"checkpoint", "verify", Path("run")})}) {
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.err.find(named), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("reading " + Checkpoint(Path("run"), 10)), std::string::npos)
        << result.err;
  }
  const ProcessResult resumed = Train({"train.steps=20"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find(named), std::string::npos) << resumed.out;
  EXPECT_NE(resumed.out.find("resuming from " + Checkpoint(Path("run"), 10)), std::string::npos);

  // With no other one, beginning anew would cost the run.
  for (const int step : {10, 20}) {
    std::filesystem::remove(Checkpoint(Path("run"), step) + "/manifest.json");
  }
  const std::string metrics = Read(Path("run/metrics.jsonl"));
  const ProcessResult refused = Train({"train.steps=20"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("no checkpoint of it is complete"), std::string::npos) << refused.err;
  EXPECT_EQ(Read(Path("run/metrics.jsonl")), metrics);
}

// Its manifest and sizes are whole, so that the damage shows where the tensors are read.
TEST_F(ResumeTest, AWrongChecksumCostsTheStepsSinceTheCheckpointBefore) {
  ASSERT_EQ(Train({"train.steps=30", "run.dir=" + Path("reference")}).exit_code, 0);
  ASSERT_EQ(Train({"train.steps=20"}).exit_code, 0);
  const auto damage = [](const std::string& checkpoint) {
    const std::string shard = checkpoint + "/rank-00000-00000.h5";
    std::string bytes = Read(shard);
    for (size_t i = bytes.size() / 2; i < bytes.size(); i += 256) bytes[i] ^= 1;
    std::ofstream(shard, std::ios::binary) << bytes;
  };
  const std::string newest = Checkpoint(Path("run"), 20), before = Checkpoint(Path("run"), 10);
  damage(newest);
  // The checkpoint that a user names is taken or refused.
  auto named = TrainArgs(Path("config.yaml"), {"train.steps=30"});
  named.insert(named.end(), {"--resume", "20"});
  const ProcessResult refused = Wyvern(named);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("is damaged ("), std::string::npos) << refused.err;

  const ProcessResult resumed = Train({"train.steps=30"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("passed over " + newest + ": tensor '"), std::string::npos)
      << resumed.out;
  EXPECT_NE(resumed.out.find("resuming from " + before), std::string::npos) << resumed.out;
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 30), Checkpoint(Path("reference"), 30));

  for (const int step : {10, 20, 30}) damage(Checkpoint(Path("run"), step));
  const ProcessResult none = Train({"train.steps=40"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("no checkpoint of " + Path("run") + " is left that is complete"),
            std::string::npos)
      << none.err;
}

TEST_F(ResumeTest, ADamagedLineOfTheMetricsCostsThatLineAlone) {
  ASSERT_EQ(Train({"train.steps=10"}).exit_code, 0);
  std::string text = Read(Path("run/metrics.jsonl"));
  const size_t third = text.find("{\"step\":3,");
  ASSERT_NE(third, std::string::npos);
  text[third] = 'x';
  WriteText("run/metrics.jsonl", text);
  const ProcessResult resumed = Train({"train.steps=20"});
  EXPECT_EQ(resumed.exit_code, 0);
  EXPECT_NE(resumed.err.find("metrics.jsonl: line 4 cannot be read and is left out"),
            std::string::npos)
      << resumed.err;
  EXPECT_EQ(Metrics(Path("run")).size(), 20u);  // steps 0 to 20 but for the third
  EXPECT_EQ(Read(Path("run/metrics.jsonl.damaged")), text);
}

// One that was killed while it rotated has nothing more to save.
TEST_F(ResumeTest, AFinishedRunRemovesWhatAKilledOneLeft) {
  ASSERT_EQ(Train({"train.steps=10"}).exit_code, 0);
  const std::string doomed =
      Path("run/checkpoints/.doomed-step_00000005-0123456789abcdef0123456789abcdef");
  std::filesystem::create_directory(doomed);
  EXPECT_EQ(Train({"train.steps=10"}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(doomed));
}

TEST_F(ResumeTest, AFinishedRunGoesIntoAnotherFolder) {
  ASSERT_EQ(Train({"train.steps=10"}).exit_code, 0);
  auto args = TrainArgs(Path("config.yaml"), {"train.steps=10", "run.dir=" + Path("copy")});
  args.insert(args.end(), {"--resume", Path("run")});
  for (int i = 0; i < 2; ++i) {
    const ProcessResult result = Wyvern(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("this run is finished: all 10 steps are done"), std::string::npos);
    ExpectEqualCheckpoints(Checkpoint(Path("copy"), 10), Checkpoint(Path("run"), 10));
    args = TrainArgs(Path("config.yaml"), {"train.steps=10", "run.dir=" + Path("copy")});
  }
}

TEST_F(ResumeTest, ResumeTakesAPathAndRefusesWhatItCannotContinue) {
  TrainReference();
  auto args = TrainArgs(Path("config.yaml"), {});
  args.insert(args.end(), {"--resume", Path("reference") + "@20"});
  ASSERT_EQ(Wyvern(args).exit_code, 0);
  auto branch = expected_;
  branch.erase(branch.begin(), branch.find(21));
  auto metrics = Metrics(Path("run"));
  EXPECT_EQ(TakeParent(&metrics[21])["path"], Checkpoint(Path("reference"), 20));
  EXPECT_EQ(metrics, branch);
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("reference"), 40));

  const auto refused = [&](std::vector<std::string> sets, const std::string& resume,
                           const std::string& message) {
    const std::string before = Read(Path("reference/metrics.jsonl"));
    sets.push_back("run.dir=" + Path("reference"));
    auto refused_args = TrainArgs(Path("config.yaml"), sets);
    refused_args.insert(refused_args.end(), {"--resume", resume});
    const ProcessResult result = Wyvern(refused_args);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
    EXPECT_EQ(Read(Path("reference/metrics.jsonl")), before);
  };
  refused({}, "none", "already holds a run, saved up to step 40");
  refused({}, Checkpoint(Path("reference"), 10), "holds a later checkpoint");
  EXPECT_NE(Read(Path("reference/console.log")).find("holds a later checkpoint"),
            std::string::npos);
  refused({}, "10", "--resume 10: it is at step 10, but ");
  refused({}, "15", "there is no such folder; " + Path("reference") + " has steps 10, 20, 30, 40");
  refused({}, Path("run") + "@15", "there is no such folder; " + Path("run") + " has steps 30, 40");
  refused({}, Path("nowhere"), "nowhere");
  refused({"model.mixers.gdn.value_dim=8"}, "auto", "value_dim");
  refused({"run.seed=2"}, "auto", "run.seed: the run has ended with step 40");
  refused({"data.sources.0.weight=4"}, "auto", "data.sources: source 0 is ");
}

// Stages say the same, so they are the oracle.
TEST_F(ResumeTest, BatchAndLengthChangeInPlaceAsWithStages) {
  const std::string rate = "schedule: {type: constant, peak: 5e-3";
  const ProcessResult staged =
      Train({"run.dir=" + Path("staged"), "train.steps=null", "schedule=null",
             absl::StrCat("stages=[{name: a, steps: 13, ", rate, ", warmup_steps: 4}}, ",
                          "{name: b, steps: 9, batch_tokens: 480, seq_len: 48, ", rate, "}}, ",
                          "{name: c, steps: 18, batch_tokens: 128, ", rate, "}}]")});
  ASSERT_EQ(staged.exit_code, 0) << staged.err;

  const std::vector<std::string> second = {"train.batch_tokens=480", "data.seq_len=48"};
  ASSERT_EQ(Train({"train.steps=13"}).exit_code, 0);
  auto sets = second;
  sets.push_back("train.steps=22");
  const ProcessResult changed = Train(sets);
  ASSERT_EQ(changed.exit_code, 0) << changed.err;
  EXPECT_NE(changed.out.find("changed since then: train.batch_tokens: 256 -> 480"),
            std::string::npos);
  // 13 steps of 256 tokens are 70 samples of 48, rounded up.
  EXPECT_NE(changed.out.find("from step 14 on: 10 samples of 48 tokens a step, the first of them "
                             "sample 70 of the order of seed 1"),
            std::string::npos)
      << changed.out;
  // In the middle of what another change begins, it is killed and comes again.
  const std::vector<std::string> third = {"train.batch_tokens=128"};
  auto stopped = third;
  stopped.push_back("train.steps=30");
  ASSERT_EQ(Train(stopped).exit_code, 0);
  const ProcessResult resumed = Train(third);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(resumed.out.find("from step "), std::string::npos) << "nothing changed again";

  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("staged"), 40));
  // Validations are at other places, and of other lengths.
  auto in_place = Metrics(Path("run")), in_stages = Metrics(Path("staged"));
  for (auto* metrics : {&in_place, &in_stages}) {
    for (auto& [step, line] : *metrics) {
      nlohmann::json json = nlohmann::json::parse(line);
      for (const char* key : {"val_loss", "val_bits_per_byte"}) json.erase(key);
      line = json.dump();
    }
  }
  EXPECT_EQ(in_place, in_stages);
}

TEST_F(ResumeTest, SeedMicroBatchAndBoundaryChangeInPlace) {
  TrainReference();
  ASSERT_EQ(Train({"train.steps=13"}).exit_code, 0);
  const ProcessResult seed = Train({"run.seed=2", "train.steps=20"});
  ASSERT_EQ(seed.exit_code, 0) << seed.err;
  EXPECT_NE(seed.out.find("from step 14 on: 8 samples of 32 tokens a step, the first of them "
                          "sample 104 of the order of seed 2; that is another order than before"),
            std::string::npos)
      << seed.out;
  const ProcessResult boundary =
      Train({"run.seed=2", "data.document_boundary=none", "train.micro_batch=2"});
  ASSERT_EQ(boundary.exit_code, 0) << boundary.err;
  EXPECT_NE(boundary.out.find("changed since then: train.micro_batch: 4 -> 2"), std::string::npos);
  EXPECT_NE(boundary.out.find("from step 21 on: 8 samples"), std::string::npos) << boundary.out;
  const auto metrics = Metrics(Path("run"));
  ASSERT_EQ(metrics.size(), 41u);
  EXPECT_EQ(metrics.at(12), expected_.at(12));
  EXPECT_NE(metrics.at(14), expected_.at(14));
}

TEST_F(ResumeTest, AChangeThatIsNotDefinedNamesItsKey) {
  std::vector<std::string> sets = {"train.steps=null", "train.tokens=1e6"};
  const Process process = Start(TrainArgs(Path("config.yaml"), sets));
  WaitUntil(process, [&] {
    return std::filesystem::exists(Checkpoint(Path("run"), 10) + "/manifest.json");
  });
  kill(process.pid, SIGKILL);
  Wait(process);
  sets.push_back("train.batch_tokens=512");
  const ProcessResult refused = Train(sets);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("train.tokens: with another batch from step"), std::string::npos)
      << refused.err;
}

// As Slurm and scripts/launch --restarts start it: the same command again.
TEST_F(ResumeTest, AKilledBranchIsStartedByTheSameCommandWithoutItsParent) {
  TrainReference();
  auto args = TrainArgs(Path("config.yaml"), {});
  args.insert(args.end(), {"--resume", Checkpoint(Path("reference"), 10)});
  const Process process = Start(args);
  const bool saved = WaitUntil(process, [&] {
    return std::filesystem::exists(Checkpoint(Path("run"), 20) + "/manifest.json");
  });
  kill(process.pid, SIGKILL);
  EXPECT_EQ(Wait(process).exit_code, -1) << "the run ended before it could be killed";
  ASSERT_TRUE(saved);
  std::filesystem::rename(Path("reference"), Path("gone"));
  const ProcessResult resumed = Wyvern(args);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("resuming from " + Checkpoint(Path("run"), 20)), std::string::npos)
      << resumed.out;
  auto branch = expected_;
  branch.erase(branch.begin(), branch.find(11));
  auto metrics = Metrics(Path("run"));
  EXPECT_EQ(TakeParent(&metrics[11])["step"], 10);
  EXPECT_EQ(metrics, branch);
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("gone"), 40));

  // A copy of the parent is the parent, another checkpoint is not, and one that is gone is named.
  args.back() = Checkpoint(Path("gone"), 10);
  EXPECT_EQ(Wyvern(args).exit_code, 0);
  args.back() = Checkpoint(Path("gone"), 20);
  EXPECT_NE(Wyvern(args).err.find("holds a later checkpoint"), std::string::npos);
  args.back() = Checkpoint(Path("nowhere"), 20);
  EXPECT_NE(Wyvern(args).err.find(args.back() + ": there is no such folder"), std::string::npos);
}

TEST_F(ResumeTest, ARunWhoseCheckpointsAreGoneIsNotBegunAnew) {
  ASSERT_EQ(Train({"train.steps=21"}).exit_code, 0);
  std::filesystem::remove_all(Path("run/checkpoints"));
  const std::string metrics = Read(Path("run/metrics.jsonl"));
  const ProcessResult refused = Train();
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("holds metrics up to step 21 and no checkpoint"), std::string::npos)
      << refused.err;
  EXPECT_EQ(Read(Path("run/metrics.jsonl")), metrics);
}

TEST_F(ResumeTest, MilestonesOutliveRotation) {
  ASSERT_EQ(
      Train({"checkpoint.every=5", "checkpoint.keep=1", "checkpoint.keep_every=15"}).exit_code, 0);
  const auto steps = [&] {
    std::vector<int64_t> all;
    const auto listed = ListCheckpoints(Path("run"));
    EXPECT_TRUE(listed.ok()) << listed.status();
    for (const CheckpointInfo& info : *listed) all.push_back(info.step);
    return all;
  };
  EXPECT_EQ(steps(), (std::vector<int64_t>{15, 30, 40}));
  ASSERT_EQ(Train({"train.steps=50", "checkpoint.keep=all"}).exit_code, 0);
  EXPECT_EQ(steps(), (std::vector<int64_t>{15, 30, 40, 50}));
  EXPECT_NE(Read(Path("run/config.yaml")).find("keep: all"), std::string::npos);
  for (const auto& [set, message] : std::map<std::string, std::string>{
           {"checkpoint.keep_every=15", "expected a multiple of checkpoint.every = 10, got 15"},
           {"checkpoint.keep=0", "checkpoint.keep: expected at least 1, or all, got 0"},
           {"checkpoint.keep=-1", "checkpoint.keep: expected at least 1, or all, got -1"}}) {
    const ProcessResult refused = Train({set});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_NE(refused.err.find(message), std::string::npos) << refused.err;
  }
}

// Adam's first moment is no momentum of Muon's, nor the other way round.
TEST_F(ResumeTest, TheStateOfAnotherOptimizerIsRefused) {
  for (const auto& [from, to, own] : std::vector<std::array<std::string, 3>>{
           {"adamw", "muon", "AdamW's state of "}, {"muon", "adamw", "Muon's state of "}}) {
    const std::string run = Path(from);
    const auto train = [&](const std::string& type, int steps) {
      return Train(
          {"run.dir=" + run, "optimizer.type=" + type, absl::StrCat("train.steps=", steps)});
    };
    ASSERT_EQ(train(from, 5).exit_code, 0);
    const ProcessResult other = train(to, 6);
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_NE(other.err.find(own), std::string::npos) << other.err;
    EXPECT_NE(other.err.find("resume with optimizer.type=" + from), std::string::npos) << other.err;
    const ProcessResult same = train(from, 6);
    EXPECT_EQ(same.exit_code, 0) << same.err;
  }
}

}  // namespace
}  // namespace wyvern
