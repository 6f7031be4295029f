// Tests of what ranks report before a run starts: as a table, between threads that act as ranks,
// and in whole runs of which one rank is not like the other.
#include "trainer/run/preflight.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "kernels/comm/versions.h"
#include "tests/support/on_ranks.h"
#include "tests/trainer/run_fixture.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/run/version.h"

namespace wyvern {
namespace {

using Weight = RankFact::Weight;

TEST(Preflight, TheMajorityIsExpected) {
  const RankFacts usual = {{"Wyvern", "1"}, {"driver", "580", Weight::kWarning}};
  std::vector<RankFacts> ranks(5, usual);
  ranks[1][1].value = "570";
  ranks[3][0].value = "2";
  ranks[4].pop_back();
  ranks[4].push_back({"MPI", "4.1", Weight::kWarning});
  const FactComparison c = CompareFacts(ranks, {"a", "a", "b", "b", "c"});
  EXPECT_EQ(
      c.errors,
      (std::vector<std::string>{"Wyvern: rank 3 (b) has 2, expected 1 as on the other 4 ranks"}));
  EXPECT_EQ(c.warnings,
            (std::vector<std::string>{
                "driver: rank 1 (a) has 570, rank 4 (c) has none, expected 580 as on the other 3 "
                "ranks",
                "MPI: rank 4 (c) has 4.1, expected none as on the other 4 ranks"}));
  ASSERT_EQ(c.rows.size(), 3u);
  EXPECT_EQ(c.rows[0].name, "Wyvern");
  EXPECT_EQ(c.rows[0].value, "1");
  EXPECT_EQ(c.rows[0].odd, (std::vector<int>{3}));
  EXPECT_EQ(c.rows[1].odd, (std::vector<int>{1, 4}));
}

TEST(Preflight, OfTwoTheFirstIsExpectedAndAloneNobodyIsOdd) {
  const FactComparison two = CompareFacts({{{"Wyvern", "1"}}, {{"Wyvern", "2"}}}, {"a", "b"});
  EXPECT_EQ(
      two.errors,
      (std::vector<std::string>{"Wyvern: rank 1 (b) has 2, expected 1 as on the other rank"}));
  const FactComparison alone = CompareFacts({{{"Wyvern", "1"}}}, {"a"});
  EXPECT_TRUE(alone.errors.empty() && alone.warnings.empty());
  std::vector<RankFacts> many(40, RankFacts{{"Wyvern", "1"}});
  for (size_t r = 0; r < 19; ++r) many[r][0].value = absl::StrCat("x", r);
  const std::string error = CompareFacts(many, std::vector<std::string>(40, "h")).errors.at(0);
  EXPECT_NE(error.find("rank 7 (h) has x7, and 11 more, expected 1 as on the other 21 ranks"),
            std::string::npos)
      << error;
}

TEST(Preflight, TheVersionOfTheDriverIsRead) {
  EXPECT_EQ(
      NvidiaDriverVersion("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul "
                          "27 07:09:48 UTC 2025\nGCC version:  gcc version 12.3.0\n"),
      "580.65.06");
  EXPECT_EQ(NvidiaDriverVersion("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124  "
                                "Release Build\n"),
            "570.124");
  EXPECT_EQ(NvidiaDriverVersion(""), "");
  EXPECT_EQ(FactsOfProcess(Device::kCpu).at(0), (RankFact{"Wyvern", Version()}));
  EXPECT_EQ(Version().find("0."), 0u) << Version();
}

RunConfig Config() {
  RunConfig config = TinyRunConfig(16, {.steps = 1, .batch_tokens = 64, .micro_batch = 1});
  config.data.sources = {{.dir = "store"}};
  return config;
}

TEST(Preflight, AnotherVersionOnOneRankIsNamedOnAll) {
  OnRanks(3, [](World* world) {
    RankFacts facts = {{"Wyvern", "0.1.0 (a)"},
                       {"NCCL", world->rank() == 2 ? "2.27.1" : "2.28.9"},
                       {"NVIDIA driver", world->rank() == 1 ? "570" : "580", Weight::kWarning}};
    const RunConfig config = Config();
    Preflight preflight(config, world, facts);
    const absl::Status status = preflight.CheckRanks();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(),
              absl::StrCat("preflight: NCCL: rank 2 (", world->host_name(2),
                           ") has 2.27.1, expected 2.28.9 as on the other 2 ranks"));
    EXPECT_NE(preflight.Table().find("  warning: NVIDIA driver: rank 1 ("), std::string::npos)
        << preflight.Table();
  });
}

TEST(Preflight, AnotherKeyOnOneRankIsNamedOnAll) {
  OnRanks(3, [](World* world) {
    RunConfig config = Config();
    if (world->rank() == 0) config.schedule.peak = 1e-2;
    Preflight preflight(config, world, {});
    const absl::Status status = preflight.CheckRanks();
    EXPECT_NE(status.message().find("preflight: configuration: rank 0 ("), std::string::npos)
        << status;
    EXPECT_NE(status.message().find("\n  rank 0 has schedule.peak: 3e-04 -> 0.01"),
              std::string::npos)
        << status;
  });
}

TEST(Preflight, TheMeshIsMeasured) {
  OnRanks(4, [](World* world) {
    const RunConfig config = Config();
    Preflight preflight(config, world, {});
    EXPECT_TRUE(preflight.CheckRanks().ok());
    const auto mesh = Mesh::Create(world, {.replicate = 2, .shard = 2}, Device::kCpu);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    EXPECT_TRUE(preflight.MeasureMesh(**mesh).ok());
    const std::string table = preflight.Table();
    for (const char* part : {"preflight: 4 ranks on 1 host\n", "  replicate      2 ranks, sum of ",
                             "  shard          2 ranks, sum of ", " GB/s"}) {
      EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
    }
    EXPECT_EQ(table.find("context"), std::string::npos) << table;
  });
}

class PreflightRunTest : public RunTest {
 protected:
  // Two ranks of a command in which $RANK stands for the rank.
  ProcessResult OnTwoRanks(const std::string& command) {
    return Wait(StartCommand({"tests/ranks/start", "2", "bash", "-c", command}));
  }
};

TEST_F(PreflightRunTest, ATrainingWithTwoConfigurationsDoesNotStart) {
  WriteText("0.yaml", Config());
  WriteText("1.yaml", absl::StrReplaceAll(Config(), {{"peak: 5e-3", "peak: 4e-3"}}));
  const ProcessResult result =
      OnTwoRanks(absl::StrCat("exec ", Binary(), " train ", Path("$RANK.yaml")));
  EXPECT_EQ(result.exit_code, 1);
  const std::string message = "wyvern: preflight: configuration: rank 1 (";
  const size_t at = result.err.find(message);
  EXPECT_NE(at, std::string::npos) << result.err;
  EXPECT_EQ(result.err.find(message, at + 1), std::string::npos) << "twice: " << result.err;
  EXPECT_NE(result.err.find("rank 1 has schedule.peak: 0.005 -> 0.004"), std::string::npos)
      << result.err;
  EXPECT_FALSE(std::filesystem::exists(Path("run"))) << "a run folder was made";
}

TEST_F(PreflightRunTest, ATrainingWithOtherDataOnOneRankDoesNotStart) {
  const std::string config = absl::StrReplaceAll(Config(), {{Path("store_"), "store_"}});
  WriteText("config.yaml", absl::StrReplaceAll(config, {{Path("b.txt"), "b.txt"}}));
  for (const int rank : {0, 1}) {
    ASSERT_TRUE(MakeFolders(Path(absl::StrCat(rank))).ok());
    WriteText(absl::StrCat(rank, "/b.txt"), SomeText(2 + rank, 40));
  }
  const std::string run = absl::StrCat("cd ", Path("$RANK"), " && exec ", Binary());
  const ProcessResult result = OnTwoRanks(absl::StrCat(run, " train ../config.yaml"));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("wyvern: preflight: store_b/train.h5: rank 1 ("), std::string::npos)
      << result.err;
  EXPECT_EQ(result.err.find("store_a"), std::string::npos) << result.err;
  // The same from the command that only looks.
  const ProcessResult again = OnTwoRanks(absl::StrCat(run, " preflight ../config.yaml"));
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_NE(again.err.find("wyvern: preflight: store_b/train.h5: rank 1 ("), std::string::npos)
      << again.err;
}

TEST_F(PreflightRunTest, TheCommandPrintsTheTable) {
  const auto preflight = [&] {
    const ProcessResult result = Wait(Start({"preflight", Path("config.yaml")}, 2));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  };
  const std::string before = preflight();
  EXPECT_NE(before.find("data: not prepared yet"), std::string::npos) << before;
  EXPECT_FALSE(std::filesystem::exists(Path("store_a"))) << "it made the data";
  const ProcessResult trained =
      Wait(Start(TrainArgs(Path("config.yaml"), {"train.steps=5", "parallel.timeout=60"}), 2));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  for (const std::string& out : {preflight(), trained.out}) {
    for (const std::string& part :
         {std::string("preflight: 2 ranks on 1 host"), Version(), std::string("configuration"),
          std::string("replicate"), std::string(" GB/s"), Path("store_a/train.h5")}) {
      const size_t at = out.find(part);
      EXPECT_NE(at, std::string::npos) << part << " is not in\n" << out;
    }
  }
  EXPECT_NE(Read(Path("run/logs/rank-00001.log")).find("Wyvern: " + Version()), std::string::npos);
  const ProcessResult alone = Wyvern({"preflight", Path("config.yaml")});
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  EXPECT_NE(alone.out.find("preflight: 1 rank on 1 host"), std::string::npos) << alone.out;
}

}  // namespace
}  // namespace wyvern
