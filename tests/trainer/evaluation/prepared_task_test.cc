// Requests of a task's documents, and the worth of their answers. The values are those of lm-eval.
#include "trainer/evaluation/prepared_task.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/data/data_fixture.h"
#include "trainer/evaluation/evaluate.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;
using TextPair = std::pair<std::string, std::string>;

class PreparedTaskTest : public DataTest {
 protected:
  absl::StatusOr<PreparedTask> Prepare(const std::string& keys, const std::string& documents,
                                       int64_t limit = 0) {
    WriteText("docs.jsonl", documents);
    WriteText("task.yaml", absl::StrCat("task: t\ndataset_path: json\ntest_split: test\n"
                                        "dataset_kwargs: {data_files: {test: docs.jsonl}}\n",
                                        keys));
    auto task = ReadTask(Path("task.yaml"));
    if (!task.ok()) return task.status();
    return PrepareTask(*std::move(task), limit, encoder_);
  }
  // Context and continuation of a request.
  TextPair Pair(const Request& request) const {
    const ScoreRequest& pair = std::get<PairRequest>(request.work).pair;
    return {tokenizer_->Decode(pair.context), tokenizer_->Decode(pair.continuation)};
  }
  static Json Score(double log_likelihood, bool is_greedy = false) {
    return {{"log_likelihood", log_likelihood}, {"is_greedy", is_greedy}};
  }

  std::unique_ptr<Tokenizer> tokenizer_ = MakeByteTokenizer();
  RequestEncoder encoder_{tokenizer_.get(), 258, {}};
};

TEST_F(PreparedTaskTest, ChoicesAreContinuations) {
  const auto task = Prepare(
      R"(output_type: multiple_choice
description: "D: "
doc_to_text: "{{q}}?"
gen_prefix: "A:"
doc_to_choice: "{{c}}"
doc_to_target: label
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}]
)",
      R"({"q": "x", "c": ["éé", "bbb"], "label": 0}
{"q": "y ", "c": ["it's", "b"], "label": 1}
)");
  ASSERT_TRUE(task.ok()) << task.status();
  ASSERT_EQ(task->requests.size(), 4u);
  EXPECT_EQ(Pair(task->requests[0]), TextPair("D: x? A:", " éé"));
  EXPECT_EQ(Pair(task->requests[3]), TextPair("D: y ? A:", " b"));
  EXPECT_EQ(task->requests[3].place, Path("docs.jsonl:2"));
  // By the character the first document's first choice is the less likely one, by the byte the more
  // likely one.
  const TaskResult result =
      Grade(*task, {Score(-4), Score(-5), Score(-8), Score(-1)}, /*resample=*/false);
  EXPECT_EQ(result.num_documents, 2);
  EXPECT_EQ(result.metrics[0].value, 1);
  EXPECT_EQ(result.metrics[1].value, 0.5);
  EXPECT_EQ(result.metrics[2].value, 1);
  EXPECT_EQ(*result.metrics[0].standard_error, 0);
  EXPECT_EQ(*result.metrics[1].standard_error, 0.5);
}

TEST_F(PreparedTaskTest, ChoicesMayBeContexts) {
  const auto task = Prepare(
      R"(output_type: multiple_choice
doc_to_text: "{{label}}"
doc_to_choice: ["a", "b {{x}}"]
doc_to_target: end
metric_list: [{metric: acc}]
)",
      "{\"label\": \"1\", \"end\": \"z.\"}\n{\"label\": \"0\", \"end\": \"y\"}\n");
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(Pair(task->requests[1]), TextPair("b {{x}}", " z."));  // a list is no template
  const TaskResult result =
      Grade(*task, {Score(-2), Score(-1), Score(-2), Score(-2)}, /*resample=*/false);
  EXPECT_EQ(result.metrics[0].value, 1);  // of equal ones the first is chosen
}

TEST_F(PreparedTaskTest, TargetsOfManyForms) {
  constexpr char kKeys[] = R"(output_type: multiple_choice
doc_to_text: q
doc_to_choice: c
metric_list: [{metric: acc}]
)";
  const std::pair<const char*, double> cases[] = {
      {"doc_to_target: 1", 1},      {"doc_to_target: '{{n}}'", 1},
      {"doc_to_target: answer", 1}, {"doc_to_target: '{{[0, n]}}'", 1},
      {"doc_to_target: list", 1},   {"doc_to_target: 'neither'", 0},
      {"doc_to_target: 7", 0}};
  for (const auto& [key, value] : cases) {
    const auto task =
        Prepare(absl::StrCat(kKeys, key, "\n"),
                R"({"q": "q", "c": ["a", "b"], "n": 1, "answer": "b", "list": [1], "x": [1]})");
    ASSERT_TRUE(task.ok()) << key << ": " << task.status();
    const TaskResult result = Grade(*task, {Score(-2), Score(-1)}, false);
    EXPECT_EQ(result.metrics[0].value, value) << key;
    EXPECT_EQ(result.num_without_choice, value == 0 ? 1 : 0) << key;
    EXPECT_EQ(absl::StrContains(ResultsText({result}), "the target of 1 of 1 documents is none"),
              value == 0)
        << key;
  }
}

TEST_F(PreparedTaskTest, LogLikelihoodsOfTargets) {
  const auto task = Prepare(
      R"(output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' '+text.split(' ')[-1]}}"
)",
      "{\"text\": \"a b c\"}\n\n{\"text\": \"d e\"}\n{\"text\": \"f g\"}\n", /*limit=*/2);
  ASSERT_TRUE(task.ok()) << task.status();
  ASSERT_EQ(task->requests.size(), 2u);
  EXPECT_EQ(Pair(task->requests[0]), TextPair("a b", " c"));
  const TaskResult result = Grade(*task, {Score(-1, true), Score(-3)}, /*resample=*/false);
  EXPECT_DOUBLE_EQ(result.metrics[0].value, std::exp(2));
  EXPECT_FALSE(result.metrics[0].standard_error.has_value());
  EXPECT_EQ(result.metrics[1].value, 0.5);
  EXPECT_TRUE(Grade(*task, {Score(-1), Score(-3)}, true).metrics[0].standard_error.has_value());
}

TEST_F(PreparedTaskTest, WholeTexts) {
  const auto task =
      Prepare("output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: text\n",
              "{\"text\": \" a\\u3000b \"}\n{\"text\": \"é\"}\n");
  ASSERT_TRUE(task.ok()) << task.status();
  const TaskResult result = Grade(*task, {Score(-5), Score(-2)}, /*resample=*/true);
  EXPECT_DOUBLE_EQ(result.metrics[0].value, std::exp(7.0 / 5));  // empty words at both ends count
  EXPECT_DOUBLE_EQ(result.metrics[1].value, std::exp(7.0 / 9));
  EXPECT_DOUBLE_EQ(result.metrics[2].value, 7.0 / 9 / std::log(2.0));
}

TEST_F(PreparedTaskTest, TextsThatAreWritten) {
  constexpr char kMetrics[] = R"(doc_to_text: q
generation_kwargs: {until: ["\n", ""], max_gen_toks: 5}
metric_list: [{metric: exact_match, ignore_case: true, ignore_punctuation: true,
               ignore_numbers: true}, {metric: contains}, {metric: word_recall}]
)";
  const auto one = Prepare(absl::StrCat(kMetrics, "doc_to_target: a\n"),
                           "{\"q\": \"x\", \"a\": \"Ünt 1!\"}\n{\"q\": \"y\", \"a\": 7}\n");
  ASSERT_FALSE(one.ok());
  EXPECT_EQ(one.status().message(),
            absl::StrCat(Path("docs.jsonl"), ":2: a: it is a number here, and a text in ",
                         Path("docs.jsonl"), ":1; make them one type"));
  const auto task = Prepare(absl::StrCat(kMetrics, "doc_to_target: a\n"),
                            "{\"q\": \"x\", \"a\": \"Ünt b1!\"}\n{\"q\": \"y\", \"a\": \"c D\"}\n");
  ASSERT_TRUE(task.ok()) << task.status();
  const auto& prompt = std::get<PromptRequest>(task->requests[0].work);
  EXPECT_EQ(prompt.until, std::vector<std::string>{"\n"});
  EXPECT_EQ(prompt.options.max_tokens, 5);
  const TaskResult result =
      Grade(*task, {{{"text", "ünt B2"}}, {{"text", "bcd  D"}}}, /*resample=*/false);
  EXPECT_EQ(result.metrics[0].value, 0.5);
  EXPECT_EQ(result.metrics[1].value, 0);
  EXPECT_EQ(result.metrics[2].value, 0.75);
  const auto several = Prepare(absl::StrCat(kMetrics, "doc_to_target: a\n"),
                               "{\"q\": \"x\", \"a\": [\"no\", \"yes or no\"]}\n");
  ASSERT_TRUE(several.ok()) << several.status();
  const TaskResult any = Grade(*several, {{{"text", "Yes"}}}, /*resample=*/false);
  EXPECT_EQ(any.metrics[0].value, 0);
  EXPECT_EQ(any.metrics[1].value, 0);
  EXPECT_EQ(any.metrics[2].value, 1);  // some of one's words
}

TEST_F(PreparedTaskTest, ErrorsNameTheLineAndTheKey) {
  constexpr char kKeys[] = R"(output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: c
doc_to_target: n
)";
  const std::pair<const char*, const char*> cases[] = {
      {"[1]", "docs.jsonl:1: expected an object"},
      {"{", "docs.jsonl:1: "},
      {"", "docs.jsonl: no document"},
      {R"({"c": ["a"], "n": 0})", "docs.jsonl:1: doc_to_text: "},
      {R"({"q": "a", "c": "a", "n": 0})", "docs.jsonl:1: doc_to_choice: expected a list of texts"},
      {R"({"q": "a", "c": [], "n": 0})", "doc_to_choice: expected one choice at least, got []"},
      {R"({"q": "a", "c": ["a"], "n": 0.5})", "doc_to_target: expected a choice or its number"},
      {R"({"q": "a", "c": [1], "n": 0})", "docs.jsonl:1: doc_to_choice: expected a text, got 1"}};
  for (const auto& [documents, message] : cases) {
    const auto task = Prepare(kKeys, documents);
    EXPECT_TRUE(absl::StrContains(task.status().message(), message)) << documents << "\n"
                                                                     << task.status();
  }
}

}  // namespace
}  // namespace wyvern
