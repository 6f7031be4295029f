// The lines of a run about its data: losses of validation sets and of sources, bits per byte,
// epochs.
#include <array>
#include <cmath>
#include <csignal>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class WatchingTest : public RunTest {
 protected:
  // Set a is a source's held-out part, part the same with fewer samples, c a text of its own.
  std::vector<std::string> Sets() {
    WriteText("c.txt", SomeText(3, 50));
    return {absl::StrCat("validation.sets=[{name: a, dir: ", Path("store_a/."),
                         "}, {name: part, dir: ", Path("store_a"),
                         ", batches: 1}, {name: c, dir: ", Path("store_c"), ", text: [",
                         Path("c.txt"), "], document_separator: \"\\n\\n\"}]"),
            "train.steps=4", "validation.every=2", "data.sources.0.val_documents=20"};
  }
  nlohmann::json Line(const std::string& run, int64_t step) {
    return nlohmann::json::parse(Metrics(Path(run)).at(step));
  }
};

TEST_F(WatchingTest, ASetHasTheLossThatEvalFinds) {
  const std::vector<std::string> sets = Sets();
  const ProcessResult result = Train(sets);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find(" (a "), std::string::npos) << result.out;
  const nlohmann::json last = Line("run", 4);
  EXPECT_FALSE(Line("run", 3).contains("validation"));
  for (const auto& [name, store, batches] :
       std::vector<std::array<std::string, 3>>{{"a", "store_a/val.h5", "2"},
                                               {"part", "store_a/val.h5", "1"},
                                               {"c", "store_c/train.h5", "2"}}) {
    const ProcessResult eval =
        Wyvern({"eval", Path("run"), "--data", Path(store), "--batches", batches, "--json"});
    ASSERT_EQ(eval.exit_code, 0) << eval.err;
    const auto expected = nlohmann::json::parse(eval.out);
    EXPECT_EQ(last["validation"][name]["loss"], expected["loss"]) << name;
    EXPECT_EQ(last["validation"][name]["bits_per_byte"], expected["bits_per_byte"]) << name;
    // The ends of documents are targets too, but no text.
    EXPECT_LT(expected["num_bytes"], expected["num_targets"]);
    EXPECT_NEAR(
        expected["bits_per_byte"].get<double>() * expected["num_bytes"].get<double>(),
        expected["loss"].get<double>() * expected["num_targets"].get<double>() / std::log(2.0),
        1e-6);
  }
  EXPECT_NE(last["validation"]["a"]["loss"], last["validation"]["part"]["loss"]);

  // The sets change nothing else.
  std::vector<std::string> without(sets.begin() + 1, sets.end());
  without.push_back("run.dir=" + Path("without"));
  ASSERT_EQ(Train(without).exit_code, 0);
  auto lines = Metrics(Path("run"));
  for (auto& [step, line] : lines) {
    auto json = nlohmann::json::parse(line);
    json.erase("validation");
    line = json.dump();
  }
  EXPECT_EQ(lines, Metrics(Path("without")));
}

TEST_F(WatchingTest, ASetMayStandWithoutAHeldOutPart) {
  std::vector<std::string> sets = Sets();
  sets[0] = absl::StrCat("validation.sets=[{name: c, dir: ", Path("store_c"), ", text: [",
                         Path("c.txt"), "], document_separator: \"\\n\\n\"}]");
  sets[3] = "data.sources.0.val_fraction=0";
  sets.push_back("data.sources.1.val_fraction=0");
  const ProcessResult result = Train(sets);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_FALSE(Line("run", 4).contains("val_loss"));
  EXPECT_TRUE(Line("run", 4)["validation"].contains("c"));
}

// Whatever the micro batch and the mesh, up to rounding; and both parts make the whole loss.
TEST_F(WatchingTest, LossAndEpochsOfEachSource) {
  const std::vector<std::pair<int, std::vector<std::string>>> runs = {
      {1, {}},
      {1, {"train.micro_batch=2"}},
      {2, {"train.micro_batch=2"}},
      {2, {"train.micro_batch=4", "parallel={context: 2, replicate: 1}"}}};
  const std::string a = Path("store_a"), b = Path("store_b");
  nlohmann::json first;
  for (size_t i = 0; i < runs.size(); ++i) {
    std::vector<std::string> sets = runs[i].second;
    const std::string name = absl::StrCat("run", i);
    sets.insert(sets.end(),
                {"logging.by_source=true", "train.steps=3", "schedule.warmup_steps=1",
                 "validation.every=0", "data.document_boundary=none", "run.dir=" + Path(name)});
    const ProcessResult result = Wait(Start(TrainArgs(Path("config.yaml"), sets), runs[i].first));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const nlohmann::json line = Line(name, 3);
    if (i == 0) first = line;
    for (const std::string& source : {a, b}) {
      EXPECT_NEAR(line["loss_by_source"][source].get<double>() /
                      first["loss_by_source"][source].get<double>(),
                  1, 1e-5);
      EXPECT_EQ(line["epochs"][source], first["epochs"][source]);
    }
  }
  // Weights 2 and 3: of the first 24 samples 9 or 10 are of the first source, of the last 8 3 or 4.
  const double loss = first["loss"], of_a = first["loss_by_source"][a],
               of_b = first["loss_by_source"][b];
  const double share = (loss - of_b) / (of_a - of_b) * 8;
  EXPECT_NEAR(share, std::round(share), 1e-3);
  const auto size = [&](const std::string& folder) {
    return static_cast<double>(((*TokenStore::Open(folder + "/train.h5"))->num_tokens() - 1) / 32);
  };
  const double samples_a = first["epochs"][a].get<double>() * size(a);
  const double samples_b = first["epochs"][b].get<double>() * size(b);
  EXPECT_NEAR(samples_a + samples_b, 24, 1e-9);
  EXPECT_NEAR(samples_a, 24 * 0.4, 1);
}

TEST_F(WatchingTest, AReportIsWrittenAtAnyMomentAndComparesRuns) {
  const Process process = Start(TrainArgs(Path("config.yaml"), {"train.steps=100000"}));
  WaitUntil(process, [&] { return Read(Path("run/metrics.jsonl")).size() > 800; });
  const ProcessResult one = Wyvern({"report", Path("run")});
  kill(process.pid, SIGTERM);
  EXPECT_EQ(Wait(process).exit_code, 143);
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(one.out, "report: " + Path("run/report.html") + "\n");
  EXPECT_NE(Read(Path("run/report.html")).find("tiny"), std::string::npos);
  ASSERT_EQ(
      Train({"train.steps=2", "schedule.warmup_steps=1", "run.dir=" + Path("other")}).exit_code, 0);
  const ProcessResult two =
      Wyvern({"report", Path("run"), Path("other"), "--output", Path("both.html")});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  for (const char* run : {"run", "other"}) {
    EXPECT_NE(Read(Path("both.html")).find(Path(run)), std::string::npos) << run;
  }
  const ProcessResult none = Wyvern({"report", Path("none")});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("it holds no metrics.jsonl"), std::string::npos) << none.err;
}

TEST_F(WatchingTest, FaultsOfSetsAreNamed) {
  const auto fails = [&](const std::string& sets, const std::string& message, int code) {
    const ProcessResult result = Train({"validation.sets=" + sets});
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  };
  fails("[{name: a, dir: x}, {name: a, dir: y}]", "validation.sets[1].name: 'a' is the name of", 2);
  fails("[{name: 'a b', dir: x}]", "validation.sets[0].name: expected letters", 2);
  fails("[{name: a}]", "validation.sets[0].dir: expected a folder, got nothing", 2);
  fails("[{name: a, dir: x, field: t}]", "has no effect with stores that exist already", 2);
  fails(absl::StrCat("[{name: a, dir: ", Path("store_b/"), ", text: [", Path("a.txt"), "]}]"),
        "holds what data.sources[1] trains on", 2);
  fails("[{name: a, dir: " + Path("nowhere") + "}]", "nowhere holds no val.h5", 1);
}

}  // namespace
}  // namespace wyvern
