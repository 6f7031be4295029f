// Exact resumption, by the program itself: whatever interrupts a run, the steps that follow have
// the digits of the uninterrupted one and the final tensors its bytes.
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

  std::map<int64_t, std::string> expected_;
};

TEST_F(ResumeTest, AKilledRunGoesOnWithTheSameDigits) {
  TrainReference();
  // 40 steps of 8 windows; the stores are small enough that both begin anew several times.
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
  line.erase("val_loss");
  metrics[13] = line.dump();
  EXPECT_EQ(metrics, expected_);
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("reference"), 40));
}

TEST_F(ResumeTest, ASignalFinishesTheStepSavesAndExitsWithZero) {
  TrainReference();
  for (const int signal : {SIGTERM, SIGUSR1}) {  // mpirun passes the second one on
    const std::string run = Path(absl::StrCat("run", signal));
    const std::vector<std::string> sets = {"checkpoint.every=0", "run.dir=" + run};
    const Process process = Start(TrainArgs(Path("config.yaml"), sets));
    WaitUntil(process, [&] { return Read(run + "/metrics.jsonl").size() > 800; });
    kill(process.pid, signal);
    const ProcessResult stopped = Wait(process);
    EXPECT_EQ(stopped.exit_code, 0) << stopped.err;
    EXPECT_NE(stopped.out.find("stopped by SIGTERM after step"), std::string::npos) << stopped.out;
    const auto so_far = Metrics(run);
    ASSERT_LT(so_far.size(), expected_.size());
    EXPECT_TRUE(std::filesystem::exists(Checkpoint(run, so_far.rbegin()->first)));
    ASSERT_EQ(Train(sets).exit_code, 0);
    ExpectEqualsReference(run);
  }
}

TEST_F(ResumeTest, ResumeTakesAPathAndRefusesWhatItCannotContinue) {
  TrainReference();
  auto args = TrainArgs(Path("config.yaml"), {});
  args.insert(args.end(), {"--resume", Checkpoint(Path("reference"), 20)});
  ASSERT_EQ(Wyvern(args).exit_code, 0);
  auto branch = expected_;
  branch.erase(branch.begin(), branch.find(21));
  EXPECT_EQ(Metrics(Path("run")), branch);
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
  refused({}, Path("nowhere"), "nowhere");
  refused({"model.mixers.gdn.value_dim=8"}, "auto", "value_dim");
  refused({"run.seed=2"}, "auto", "the run read other data");
}

}  // namespace
}  // namespace wyvern
