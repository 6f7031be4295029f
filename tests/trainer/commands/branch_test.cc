// wyvern branch, and the runs that its configurations start.
#include "tests/trainer/run_fixture.h"
#include "trainer/config/load.h"

namespace wyvern {
namespace {

class BranchTest : public RunTest {
 protected:
  // The trunk: 20 steps at a constant rate.
  void TrainTrunk() {
    const ProcessResult trunk = Train({"train.steps=20", "run.dir=" + Path("trunk")});
    ASSERT_EQ(trunk.exit_code, 0) << trunk.err;
  }
};

TEST_F(BranchTest, ABranchContinuesWithOtherKeysInItsOwnFolder) {
  TrainTrunk();
  const ProcessResult made =
      Wyvern({"branch", Path("trunk") + "@10", Path("decay"), "--set", "schedule.type=wsd",
              "schedule.decay_steps=10", "train.steps=20"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_NE(made.out.find("a branch of " + Checkpoint(Path("trunk"), 10) + ", from step 10 to 20"),
            std::string::npos)
      << made.out;
  EXPECT_NE(made.out.find("schedule.type: constant -> wsd"), std::string::npos) << made.out;
  const std::string file = Path("decay/config.yaml");
  EXPECT_NE(made.out.find("start it with: wyvern train " + file), std::string::npos) << made.out;

  ASSERT_EQ(Wyvern({"train", file}).exit_code, 0);
  const auto metrics = Metrics(Path("decay"));
  ASSERT_EQ(metrics.size(), 10u);
  const auto line = nlohmann::json::parse(metrics.at(11));
  EXPECT_EQ(line["parent"]["kind"], "branch");
  EXPECT_EQ(line["parent"]["step"], 10);
  EXPECT_FALSE(nlohmann::json::parse(metrics.at(12)).contains("parent"));
  EXPECT_LT(nlohmann::json::parse(metrics.at(20))["lr"], 1e-3);
  const std::string report = Read(Path("decay/report.html"));
  EXPECT_NE(report.find("parent, training"), std::string::npos);
  EXPECT_NE(report.find("(step 10, branch)"), std::string::npos);

  // It computes the same as --resume.
  auto args = TrainArgs(Path("config.yaml"),
                        {"schedule.type=wsd", "schedule.decay_steps=10", "train.steps=20"});
  args.insert(args.end(), {"--resume", Checkpoint(Path("trunk"), 10)});
  ASSERT_EQ(Wyvern(args).exit_code, 0);
  ExpectEqualCheckpoints(Checkpoint(Path("decay"), 20), Checkpoint(Path("run"), 20));

  // With a checkpoint of its own it needs its parent no more.
  std::filesystem::remove_all(Path("trunk"));
  const ProcessResult again = Wyvern({"train", file});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.out.find("this run is finished"), std::string::npos) << again.out;
}

TEST_F(BranchTest, ABranchMayHaveOtherBatches) {
  TrainTrunk();
  ASSERT_EQ(Wyvern({"branch", Path("trunk") + "@10", Path("wide"), "--set", "train.steps=12",
                    "train.batch_tokens=512"})
                .exit_code,
            0);
  const ProcessResult trained = Wyvern({"train", Path("wide/config.yaml")});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_NE(trained.out.find("from step 11 on: 16 samples"), std::string::npos) << trained.out;
}

TEST_F(BranchTest, AFileNamesTheRunAndABranchMayHaveBranches) {
  TrainTrunk();
  ASSERT_EQ(Wyvern({"branch", Path("trunk"), Path("one.yaml"), "--set", "train.steps=30",
                    "run.dir=" + Path("one")})
                .exit_code,
            0);
  const auto one = LoadRunConfig(Path("one.yaml"));
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->run.name, "one");
  EXPECT_EQ(one->run.branch_of, Checkpoint(Path("trunk"), 20));
  ASSERT_EQ(Wyvern({"train", Path("one.yaml")}).exit_code, 0);
  ASSERT_EQ(Wyvern({"branch", Path("one"), Path("two"), "--set", "train.steps=35"}).exit_code, 0);
  const auto two = LoadRunConfig(Path("two/config.yaml"));
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(two->run.branch_of, Checkpoint(Path("one"), 30));
  ASSERT_EQ(Wyvern({"train", Path("two/config.yaml")}).exit_code, 0);
  EXPECT_NE(Read(Path("two/report.html")).find("parent, training"), std::string::npos);
}

TEST_F(BranchTest, WhatCannotBeABranchIsNamed) {
  TrainTrunk();
  const auto refused = [&](const std::string& parent, const std::string& target,
                           std::vector<std::string> sets, const std::string& message) {
    sets.insert(sets.begin(), {"branch", parent, target, "--set"});
    const ProcessResult result = Wyvern(sets);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  };
  const std::string trunk = Path("trunk"), target = Path("new");
  refused(trunk + "@15", target, {"train.steps=30"},
          "there is no such folder; " + trunk + " has steps 10, 20");
  refused(trunk, target, {"train.steps=20"}, "the branch would end with step 20");
  refused(trunk, target, {"train.steps=30", "model.num_layers=4"},
          "a branch has its parent's model: model.num_layers");
  refused(trunk, target, {"train.steps=30", "schedule.peek=1"}, "schedule.peek");
  refused(trunk, target, {"train.steps=30", "optimizer.type=muon"},
          "resume with optimizer.type=adamw");
  refused(trunk, target, {"train.steps=30", "data.sources.1.weight=4"},
          "data.sources[1].weight: 4, was 3; resume with the same data");
  refused(trunk, target, {"train.tokens=1e6", "train.batch_tokens=512"},
          "train.tokens: with another batch from step 20 on");
  refused(trunk, trunk, {"train.steps=30"}, "config.yaml: exists already");
  refused(trunk, Path("x.yaml"), {"train.steps=30", "run.dir=" + trunk}, "holds a run already");
  EXPECT_FALSE(std::filesystem::exists(target));
  // A parent that is gone before the branch has a checkpoint.
  ASSERT_EQ(Wyvern({"branch", trunk, target, "--set", "train.steps=30"}).exit_code, 0);
  std::filesystem::remove_all(trunk);
  const ProcessResult gone = Wyvern({"train", target + "/config.yaml"});
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_NE(gone.err.find("run.branch_of: checkpoint " + Checkpoint(trunk, 20)), std::string::npos)
      << gone.err;
}

}  // namespace
}  // namespace wyvern
