// `wyvern eval --tasks` as a program; tests/trainer/lm_eval_test.cc compares it with lm-eval.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class EvalTasksTest : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    ASSERT_EQ(Train({"train.steps=1", "schedule.warmup_steps=0"}).exit_code, 0);
    std::string documents;
    for (int i = 0; i < 20; ++i) {
      absl::StrAppend(&documents, R"({"text": "delta rule )", i, R"(", "value": "state)", i % 3,
                      "\"}\n");
    }
    WriteText("docs.jsonl", documents);
    for (const auto& [name, keys] :
         {std::pair("cloze", "output_type: loglikelihood\n"),
          std::pair("recall",
                    "generation_kwargs: {max_gen_toks: 4}\nmetric_list: [{metric: contains}]\n")}) {
      WriteText(absl::StrCat(name, ".yaml"),
                absl::StrCat("task: ", name,
                             "\ndataset_path: json\ntest_split: test\n"
                             "dataset_kwargs: {data_files: {test: docs.jsonl}}\n"
                             "doc_to_text: text\ndoc_to_target: value\n",
                             keys));
    }
  }
  std::vector<std::string> Args(const std::string& output) const {
    return {"eval",     Path("run"), "--tasks", Path("cloze.yaml"), Path("recall.yaml"),
            "--output", output};
  }
};

TEST_F(EvalTasksTest, RanksScoreAsOneDoes) {
  const ProcessResult one = Wyvern(Args(Path("one.json")));
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_TRUE(absl::StrContains(one.out, "cloze          20  perplexity (down)  ")) << one.out;
  const auto json = nlohmann::json::parse(Read(Path("one.json")));
  EXPECT_GT(json["results"]["cloze"]["perplexity,none"].get<double>(), 1);
  EXPECT_GT(json["results"]["cloze"]["perplexity_stderr,none"].get<double>(), 0);
  EXPECT_EQ(json["results"]["recall"]["contains,none"], 0);
  EXPECT_EQ(json["n-samples"]["recall"]["effective"], 20);
  const ProcessResult two = Wait(Start(Args(Path("two.json")), 2));
  ASSERT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(two.out, one.out);
  EXPECT_EQ(nlohmann::json::parse(Read(Path("two.json"))), json);
}

TEST_F(EvalTasksTest, AWrongTaskIsToldAndLeavesNoFile) {
  WriteText("bad.yaml", "task: bad\nfilter_list: []\n");
  const ProcessResult bad =
      Wyvern({"eval", Path("run"), "--tasks", Path("bad.yaml"), "--output", Path("no.json")});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(bad.err, "bad.yaml:2: filter_list: Wyvern has no")) << bad.err;
  EXPECT_FALSE(std::filesystem::exists(Path("no.json")));
  const ProcessResult twice =
      Wyvern({"eval", Path("run"), "--tasks", Path("cloze.yaml"), Path("cloze.yaml")});
  EXPECT_TRUE(absl::StrContains(twice.err, "another file's task is named cloze, too")) << twice.err;
}

TEST_F(EvalTasksTest, AFolderInTheOutputsPlaceIsToldBeforeTheWork) {
  namespace fs = std::filesystem;
  fs::create_directories(Path("recall/vt_1500.yaml"));
  const ProcessResult eval = Wyvern(Args(Path("recall")));
  EXPECT_EQ(eval.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(eval.err, "/recall: a folder; name a file to write")) << eval.err;
  EXPECT_EQ(eval.out, "");
  // A task without its documents, or other documents beside an old task, would be half of one.
  const ProcessResult make = Wyvern({"data", "make-task", "vt", "--tokenizer", "byte", "--tokens",
                                     "1500", "--samples", "1", "-o", Path("recall")});
  EXPECT_EQ(make.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(make.err, "/vt_1500.yaml: a folder;")) << make.err;
  EXPECT_FALSE(fs::exists(Path("recall/vt_1500.jsonl")));
}

TEST_F(EvalTasksTest, AHaystackWithoutAnEndIsRefused) {
  const ProcessResult result = Wyvern({"data", "make-task", "niah_single_2", "--tokenizer", "byte",
                                       "--haystack", "/dev/zero", "-o", Path("recall")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(result.err, "neither a file nor a pipe; expected a haystack"))
      << result.err;
}

}  // namespace
}  // namespace wyvern
