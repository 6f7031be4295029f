// Runs that begin with the weights of another one, by the program itself.
#include <csignal>

#include "tests/trainer/run_fixture.h"
#include "trainer/checkpoint/manifest.h"

namespace wyvern {
namespace {

class InitFromTest : public RunTest {
 protected:
  // A run of ten steps, whose validation loss ends below where it began.
  void TrainParent() {
    const ProcessResult parent = Train({"train.steps=10", "run.dir=" + Path("parent")});
    ASSERT_EQ(parent.exit_code, 0) << parent.err;
  }
  std::string FromParent() const { return "train.init_from=" + Path("parent"); }

  static nlohmann::json Line(const std::map<int64_t, std::string>& metrics, int64_t step) {
    return nlohmann::json::parse(metrics.at(step));
  }
};

TEST_F(InitFromTest, ItBeginsAtStepZeroWithTheWeightsAloneAndNamesItsParent) {
  TrainParent();
  const auto before = Metrics(Path("parent"));
  const ProcessResult result = Train({FromParent(), "train.steps=12"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("beginning with the weights of " + Checkpoint(Path("parent"), 10)),
            std::string::npos)
      << result.out;
  EXPECT_EQ(result.err.find("TOKENIZER"), std::string::npos) << result.err;
  const auto metrics = Metrics(Path("run"));
  EXPECT_EQ(metrics.size(), 13u);
  EXPECT_EQ(Line(metrics, 0)["val_loss"], Line(before, 10)["val_loss"]);
  EXPECT_EQ(Line(metrics, 1)["lr"], 0.0);  // the warm-up begins anew
  const nlohmann::json parent = {
      {"kind", "weights"},
      {"path", Checkpoint(Path("parent"), 10)},
      {"step", 10},
      {"manifest_crc32", *ManifestChecksum(Checkpoint(Path("parent"), 10))}};
  EXPECT_EQ(Line(metrics, 0)["parent"], parent);
  EXPECT_FALSE(Line(metrics, 1).contains("parent"));
  for (const int step : {10, 12}) {
    EXPECT_EQ(OpenCheckpoint(Checkpoint(Path("run"), step))->meta["parent"], parent);
  }
  EXPECT_NE(Read(Path("run/report.html")).find("(step 10, weights alone)"), std::string::npos);
}

TEST_F(InitFromTest, AKilledRunResumesFromItsOwnCheckpointsWithoutTheParent) {
  TrainParent();
  ASSERT_EQ(Train({FromParent(), "run.dir=" + Path("reference")}).exit_code, 0);
  const std::vector<std::string> sets = {FromParent()};
  const Process process = Start(TrainArgs(Path("config.yaml"), sets));
  const bool saved = WaitUntil(process, [&] {
    return std::filesystem::exists(Checkpoint(Path("run"), 10) + "/manifest.json");
  });
  kill(process.pid, SIGKILL);
  EXPECT_EQ(Wait(process).exit_code, -1) << "the run ended before it could be killed";
  ASSERT_TRUE(saved);
  std::filesystem::rename(Path("parent"), Path("gone"));
  const ProcessResult resumed = Train(sets);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("resuming from " + Checkpoint(Path("run"), 10)), std::string::npos)
      << resumed.out;
  EXPECT_EQ(Metrics(Path("run")), Metrics(Path("reference")));
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 40), Checkpoint(Path("reference"), 40));
  EXPECT_EQ(OpenCheckpoint(Path("run"))->meta["parent"],
            OpenCheckpoint(Path("reference"))->meta["parent"]);
}

TEST_F(InitFromTest, OnTwoRanksItBeginsAsOnOne) {
  TrainParent();
  // The first update of a warm-up has the rate 0: the weights are those of the parent.
  const std::vector<std::string> sets = {
      FromParent(),           "train.steps=1",    "schedule.warmup_steps=1",
      "parallel.replicate=1", "parallel.shard=2", "run.dir=" + Path("two")};
  const ProcessResult two = Wait(Start(TrainArgs(Path("config.yaml"), sets), 2));
  ASSERT_EQ(two.exit_code, 0) << two.err;
  const auto parent = OpenCheckpoint(Path("parent"));
  ASSERT_TRUE(parent.ok()) << parent.status();
  for (const CheckpointTensor& t : parent->tensors) {
    if (t.name.rfind("model/", 0) != 0) continue;
    const Tensor a = Tensor::Zeros(t.shape, t.dtype, Device::kCpu),
                 b = Tensor::Zeros(t.shape, t.dtype, Device::kCpu);
    ASSERT_TRUE(ReadCheckpoint(Path("two"), {{t.name, a}}).ok());
    ASSERT_TRUE(ReadCheckpoint(Path("parent"), {{t.name, b}}).ok());
    EXPECT_EQ(a.ToVector<float>(), b.ToVector<float>()) << t.name;
  }
}

TEST_F(InitFromTest, ALargerVocabularyAndAnotherTokenizerAreNamed) {
  TrainParent();
  const std::vector<std::string> sets = {FromParent(), "train.steps=5", "model.vocab_size=300"};
  const ProcessResult refused = Train(sets);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("embedding.weight: 258 rows there, 300 here"), std::string::npos)
      << refused.err;
  std::vector<std::string> more = sets;
  more.insert(more.end(),
              {"train.init_vocab=resize", "tokenizer.type=bpe", "tokenizer.vocab_size=280",
               "tokenizer.path=" + Path("bpe.model"), "data.sources.0.dir=" + Path("bpe_a"),
               "data.sources.1.dir=" + Path("bpe_b")});
  const ProcessResult resized = Train(more);
  ASSERT_EQ(resized.exit_code, 0) << resized.err;
  EXPECT_NE(resized.out.find("embedding.weight: 258 rows there, 300 here: the first 258 are "
                             "copied, the others are drawn"),
            std::string::npos)
      << resized.out;
  EXPECT_NE(resized.err.find("ANOTHER TOKENIZER"), std::string::npos) << resized.err;
}

// Preparing the data may take hours.
TEST_F(InitFromTest, AParentThatIsNotThereIsNamedBeforeTheDataIsPrepared) {
  const ProcessResult result = Train({"train.init_from=" + Path("nowhere")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("train.init_from: " + Path("nowhere") + ": there is no such folder"),
            std::string::npos)
      << result.err;
  EXPECT_FALSE(std::filesystem::exists(Path("store_a")));
  const ProcessResult idle = Train({"train.init_missing=init"});
  EXPECT_EQ(idle.exit_code, 2);
  EXPECT_NE(idle.err.find("train.init_missing: has no effect with no init_from"), std::string::npos)
      << idle.err;
}

}  // namespace
}  // namespace wyvern
