#include "trainer/evaluation/task.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

constexpr char kData[] = R"(task: t
dataset_path: json
dataset_kwargs: {data_files: {test: docs.jsonl, validation: [a.jsonl, /b.jsonl]}}
)";
constexpr char kChoice[] = R"(test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: label
doc_to_choice: [yes it is, "no"]
)";

class TaskTest : public DataTest {
 protected:
  absl::StatusOr<Task> Read(const std::string& yaml) {
    return ReadTask(WriteText("task.yaml", yaml));
  }
};

TEST_F(TaskTest, HasTheDefaultsOfLmEval) {
  const auto choice = Read(absl::StrCat(kData, kChoice));
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->name, "t");
  EXPECT_EQ(choice->data_files, std::vector<std::string>{Path("docs.jsonl")});
  EXPECT_EQ(choice->target_delimiter, " ");
  ASSERT_EQ(choice->metrics.size(), 2u);
  EXPECT_EQ(choice->metrics[1].metric, Metric::kAccNorm);

  const auto generate = Read(absl::StrCat(kData, R"(validation_split: validation
test_split: null
doc_to_text: ""
doc_to_target: 3
generation_kwargs: {max_gen_toks: 7}
metric_list: [{metric: exact_match, ignore_case: true, aggregation: mean, higher_is_better: true}]
num_fewshot: 0
metadata: {version: 1.0}
)"));
  ASSERT_TRUE(generate.ok()) << generate.status();
  EXPECT_EQ(generate->kind, TaskKind::kGenerate);
  EXPECT_EQ(generate->data_files, (std::vector<std::string>{Path("a.jsonl"), "/b.jsonl"}));
  EXPECT_EQ(generate->until, std::vector<std::string>{"\n\n"});
  EXPECT_EQ(generate->max_gen_toks, 7);
  ASSERT_EQ(generate->metrics.size(), 1u);
  EXPECT_TRUE(generate->metrics[0].ignore_case);
  EXPECT_FALSE(generate->metrics[0].ignore_numbers);
}

TEST_F(TaskTest, TheExamplesAreTasks) {
  for (const char* name : {"swde", "squad_completion", "fda"}) {
    const auto task = ReadTask(absl::StrCat("integrations/lm_eval/tasks/", name, ".yaml"));
    ASSERT_TRUE(task.ok()) << task.status();
    EXPECT_EQ(task->metrics[0].metric, Metric::kContains);
    EXPECT_EQ(task->max_gen_toks, 48);
  }
}

TEST_F(TaskTest, ATaskIsATextInUtf8) {
  const absl::Status status = Read(absl::StrCat(kData, kChoice, "metadata: \xff\n")).status();
  EXPECT_TRUE(absl::EndsWith(status.message(), ": it is not UTF-8, or a zero byte")) << status;
}

TEST_F(TaskTest, FilesWithoutASplitAreTheSplitTrain) {
  const std::string yaml = R"(task: t
dataset_path: json
dataset_kwargs: {data_files: docs.jsonl}
doc_to_text: a
doc_to_target: b
)";
  EXPECT_TRUE(Read(yaml + "test_split: train\n").ok());
  EXPECT_TRUE(absl::StrContains(Read(yaml + "test_split: test\n").status().message(),
                                "data_files: has no files of the split test"));
}

TEST_F(TaskTest, EveryKeyThatWouldChangeAScoreIsKnownOrRefused) {
  const std::string choice = absl::StrCat(kData, kChoice);
  const std::string generate =
      absl::StrCat(kData, "test_split: test\ndoc_to_text: a\ndoc_to_target: b\n");
  const std::pair<std::string, const char*> cases[] = {
      {choice + "filter_list: []\n", "task.yaml:9: filter_list: Wyvern has no such key of tasks"},
      {choice + "process_docs: !function utils.f\n", "task.yaml:9: process_docs: Wyvern has no"},
      {choice + "description: !function utils.f\n",
       "task.yaml:9: !function utils.f: Wyvern runs no code of Python"},
      {choice + "num_fewshot: 5\n",
       "task.yaml:9: num_fewshot: expected 0, the only value here, got"},
      {choice + "dataset_name: main\n", "task.yaml:9: dataset_name: "},
      {choice + "task: u\n", "task.yaml:9: task: given twice"},
      {choice + "generation_kwargs: {}\n", "only generate_until writes texts"},
      {choice + "metric_list: [{metric: f1}]\n",
       "metric_list[0].metric: expected one of acc, acc_norm, acc_bytes for multiple_choice, got "
       "'f1'"},
      {choice + "metric_list: [{metric: acc, aggregation: median}]\n",
       "metric_list[0].aggregation: expected mean, that of acc, got 'median'"},
      {choice + "metric_list: [{metric: acc, hf_evaluate: true}]\n",
       "metric_list[0].hf_evaluate: acc has no such key in Wyvern"},
      {choice + "metric_list: [{metric: acc}, {metric: acc}]\n", "metric_list[1]: given twice"},
      {choice + "gen_prefix: true\n", "gen_prefix: expected a template"},
      {choice + "gen_prefix: 0x10\n", "quote it if it is a text"},
      {choice + "gen_prefix: '{{'\n", "task.yaml:9: gen_prefix"},
      {generate + "metric_list: [{metric: exact_match, regexes_to_ignore: [a]}]\n",
       "metric_list[0].regexes_to_ignore: exact_match has no such key"},
      {generate + "generation_kwargs: {do_sample: true}\n",
       "generation_kwargs.do_sample: only greedy"},
      {generate + "generation_kwargs: {temperature: 0.5}\n", "temperature: only greedy"},
      {generate + "generation_kwargs: {top_p: 0.5}\n", "generation_kwargs.top_p: Wyvern has no"},
      {generate + "output_type: other\n", "output_type: expected multiple_choice, loglikelihood,"},
      {"task: t\ndataset_path: EleutherAI/x\n", "task.yaml:2: dataset_path: expected json"},
      {"dataset_path: json\n", "task.yaml: task: missing"},
      {absl::StrCat(kData, "test_split: test\ndoc_to_text: a\n"), "doc_to_target: missing"},
      {absl::StrCat(kData, "doc_to_text: a\n"), "test_split: missing"}};
  for (const auto& [yaml, message] : cases) {
    const auto task = Read(yaml);
    EXPECT_TRUE(absl::StrContains(task.status().message(), message)) << yaml << "\n"
                                                                     << task.status();
  }
}

}  // namespace
}  // namespace wyvern
