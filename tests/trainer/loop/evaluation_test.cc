// Tasks that a run is scored on while it trains.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

class EvaluationTest : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    std::string documents;
    const char* words[] = {"delta", "rule", "state", "key"};
    for (int i = 0; i < 12; ++i) {
      absl::StrAppend(&documents, R"({"text": "erases then )", words[i % 3], R"(", "value": ")",
                      words[i % 4], R"(", "label": )", i % 4, "}\n");
    }
    WriteText("docs.jsonl", documents);
    WriteTask("cloze", "output_type: loglikelihood\ndoc_to_target: ' {{value}}'\n");
    WriteTask("choice",
              "output_type: multiple_choice\ndoc_to_choice: [delta, rule, state, key]\n"
              "doc_to_target: label\n");
    WriteTask("recall",
              "generation_kwargs: {max_gen_toks: 8}\nmetric_list: [{metric: contains}]\n"
              "doc_to_target: '{{value[:1]}}'\n");
    tasks_ = absl::StrCat("evaluation={every: 3, limit: 9, tasks: [", Path("cloze.yaml"), ", ",
                          Path("choice.yaml"), ", ", Path("recall.yaml"), "]}");
  }
  void WriteTask(const std::string& name, const std::string& keys) {
    WriteText(name + ".yaml",
              absl::StrCat("task: ", name,
                           "\ndataset_path: json\ntest_split: test\n"
                           "dataset_kwargs: {data_files: {test: docs.jsonl}}\ndoc_to_text: text\n",
                           keys));
  }
  std::vector<std::string> Sets(const std::string& run,
                                const std::vector<std::string>& more) const {
    std::vector<std::string> sets = {"run.dir=" + Path(run), "train.steps=10",
                                     "checkpoint.every=2"};
    sets.insert(sets.end(), more.begin(), more.end());
    return sets;
  }
  // Takes the scores out of the lines.
  static std::map<int64_t, Json> TakeScores(std::map<int64_t, std::string>* metrics) {
    std::map<int64_t, Json> scores;
    for (auto& [step, line] : *metrics) {
      Json json = Json::parse(line);
      if (json.contains("evaluation")) scores[step] = json["evaluation"];
      json.erase("evaluation");
      line = json.dump();
    }
    return scores;
  }
  // The scores that `wyvern eval` gives a checkpoint.
  Json Eval(const std::string& checkpoint) {
    const ProcessResult result =
        Wyvern({"eval", checkpoint, "--limit", "9", "--json", "--tasks", Path("cloze.yaml"),
                Path("choice.yaml"), Path("recall.yaml")});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(result.out, nullptr, false)["results"];
  }
  static void ExpectEqual(const Json& in_loop, const Json& by_command) {
    size_t count = 0;
    for (const auto& [task, metrics] : in_loop.items()) {
      for (const auto& [name, value] : metrics.items()) {
        EXPECT_EQ(value, by_command[task][name + ",none"]) << task << " " << name;
        ++count;
      }
    }
    EXPECT_EQ(count, 9u);  // perplexity, acc, acc, acc_norm, contains, and four errors
  }

  std::string tasks_;
};

TEST_F(EvaluationTest, LeavesEveryBitOfTheTraining) {
  const ProcessResult plain = Train(Sets("plain", {}));
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  const ProcessResult scored = Train(Sets("scored", {tasks_}));
  ASSERT_EQ(scored.exit_code, 0) << scored.err;
  EXPECT_TRUE(absl::StrContains(scored.out, "evaluation after step 10: cloze perplexity "))
      << scored.out;
  auto without = Metrics(Path("plain")), with = Metrics(Path("scored"));
  EXPECT_TRUE(TakeScores(&without).empty());
  const auto scores = TakeScores(&with);
  EXPECT_EQ(with, without);
  ExpectEqualCheckpoints(Checkpoint(Path("scored"), 10), Checkpoint(Path("plain"), 10));
  ASSERT_EQ(scores.size(), 4u);  // steps 3, 6, 9 and the last one
  EXPECT_NE(scores.at(3), scores.at(10));
  ExpectEqual(scores.at(6), Eval(Checkpoint(Path("scored"), 6)));
  EXPECT_TRUE(absl::StrContains(Read(Path("scored") + "/report.html"), "Tasks: acc_norm"));
}

TEST_F(EvaluationTest, ResumesExactly) {
  const ProcessResult whole = Train(Sets("whole", {tasks_}));
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  std::vector<std::string> args = TrainArgs(Path("config.yaml"), Sets("resumed", {tasks_}));
  args.insert(args.end(), {"--resume", Checkpoint(Path("whole"), 4)});
  const ProcessResult resumed = Wyvern(args);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  const auto expected = Metrics(Path("whole")), lines = Metrics(Path("resumed"));
  for (int64_t step = 6; step <= 10; ++step) EXPECT_EQ(lines.at(step), expected.at(step)) << step;
}

// Each rank scores a part, or where it holds a part of the model, the same as the others do.
class EvaluationRanksTest : public EvaluationTest,
                            public testing::WithParamInterface<std::vector<std::string>> {};

TEST_P(EvaluationRanksTest, ScoreAsOneDoes) {
  std::vector<std::string> sets = Sets("run", GetParam());
  sets.insert(sets.end(), {"train.steps=4", tasks_});
  const ProcessResult result = Wait(Start(TrainArgs(Path("config.yaml"), sets), 2));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  auto metrics = Metrics(Path("run"));
  const auto scores = TakeScores(&metrics);
  ASSERT_EQ(scores.size(), 2u);
  ExpectEqual(scores.at(4), Eval(Path("run")));
}

INSTANTIATE_TEST_SUITE_P(
    Meshes, EvaluationRanksTest,
    testing::Values(std::vector<std::string>{"parallel.shard=1"},
                    std::vector<std::string>{"parallel.shard=2", "parallel.zero=3"},
                    std::vector<std::string>{"parallel.context=2"},
                    std::vector<std::string>{
                        "model.moe={num_experts: 4, experts_per_token: 2, intermediate_size: 16, "
                        "router: sigmoid}",
                        "parallel.expert=2"}));

TEST_F(EvaluationTest, AWrongTaskIsToldBeforeAnythingIsMade) {
  WriteTask("bad", "doc_to_target: value\nfilter_list: []\n");
  const std::vector<std::string> sets = {"evaluation={every: 5, tasks: [" + Path("bad.yaml") + "]}",
                                         "run.dir=" + Path("bad")};
  const ProcessResult result = Train(sets);
  EXPECT_EQ(result.exit_code, 2);  // wrong usage: nobody starts it again
  EXPECT_TRUE(absl::StrContains(result.err, "bad.yaml:7: filter_list: Wyvern has no"))
      << result.err;
  EXPECT_FALSE(std::filesystem::exists(Path("bad")));
  EXPECT_FALSE(std::filesystem::exists(Path("store_a")));
  std::vector<std::string> show = {"config", "show", Path("config.yaml"), "--set"};
  show.insert(show.end(), sets.begin(), sets.end());
  const ProcessResult shown = Wyvern(show);
  EXPECT_EQ(shown.exit_code, 2);
  EXPECT_TRUE(absl::StrContains(shown.err, "bad.yaml:7: filter_list")) << shown.err;
  const ProcessResult none = Train({"evaluation={every: 5}"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_TRUE(absl::StrContains(none.err, "evaluation.tasks: expected the files of tasks"))
      << none.err;
}

}  // namespace
}  // namespace wyvern
