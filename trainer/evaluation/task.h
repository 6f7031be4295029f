// Tasks of evaluation, in the form of lm-eval's YAML files: the same file runs in both.
// docs/evaluation.md says which keys there are.
#ifndef WYVERN_TRAINER_EVALUATION_TASK_H_
#define WYVERN_TRAINER_EVALUATION_TASK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/evaluation/task_field.h"

namespace wyvern {

enum class TaskKind { kMultipleChoice, kLogLikelihood, kRolling, kGenerate };

enum class Metric {
  kAcc,             // share of documents whose most likely choice, or greedy text, is right
  kAccNorm,         // the same by the log-likelihood of a character
  kAccBytes,        // and of a byte
  kPerplexity,      // of a document's target
  kWordPerplexity,  // of a word of the documents
  kBytePerplexity,
  kBitsPerByte,
  kExactMatch,  // share of texts that are the target
  kContains,    // that contain it, whatever the case
  kWordRecall,  // share of the target's words that the text contains, whatever the case
};
const char* Name(Metric metric);
bool IsHigherBetter(Metric metric);

struct TaskMetric {
  Metric metric = Metric::kAcc;
  // The options of exact_match, which say what is taken for equal.
  bool ignore_case = false, ignore_punctuation = false, ignore_numbers = false;
};

struct Task {
  std::string path;  // of the file
  std::string name;
  std::vector<std::string> data_files;
  TaskKind kind = TaskKind::kGenerate;
  std::optional<TaskField> doc_to_text, doc_to_target, doc_to_choice, description, gen_prefix;
  std::string target_delimiter = " ";
  std::vector<std::string> until;  // of kGenerate
  int64_t max_gen_toks = 256;
  std::vector<TaskMetric> metrics;  // one at least
};

// Errors name the line and the key: what is missing or ill-typed, and every key that would change a
// score and that Wyvern does not have.
absl::StatusOr<Task> ReadTask(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_TASK_H_
