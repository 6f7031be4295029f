// Tasks of recall at any length: needles in a haystack, and variables that are assigned to one
// another. Their texts and measures are those of RULER (arXiv 2404.06654); S-NIAH 1 to 3 of the
// papers are niah_single_1 to niah_single_3.
#ifndef WYVERN_TRAINER_EVALUATION_RECALL_TASK_H_
#define WYVERN_TRAINER_EVALUATION_RECALL_TASK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

enum class RecallKind {
  kSingle1,    // a sentence that repeats; a word's number
  kSingle2,    // an essay; a word's number
  kSingle3,    // an essay; a word's UUID
  kMultiKey1,  // an essay with four words' numbers, of which one is asked for
  kMultiKey2,  // nothing but words' numbers
  kMultiKey3,  // nothing but UUIDs' UUIDs
  kVariables,  // the variables that have a value in the end, by five assignments
};
const char* Name(RecallKind kind);
std::vector<std::string> RecallKindNames();
// Error: none of these names.
absl::StatusOr<RecallKind> FindRecallKind(const std::string& name);
bool NeedsEssay(RecallKind kind);

struct RecallTaskOptions {
  RecallKind kind = RecallKind::kSingle1;
  int64_t tokens = 4096;  // of prompt and answer together, at most
  int64_t samples = 500;
  uint64_t seed = 1;
  std::string essay;  // of the kinds that need one; repeated where it is too short
};

struct RecallTask {
  std::string name;       // of the kind and the length: "niah_single_1_4096"
  std::string documents;  // lines of JSON
  std::string yaml;       // the task, whose documents lie in NAME.jsonl beside it
};

// A function of the options and the tokenizer's ids alone. Errors: a length that leaves no room, an
// essay without words.
absl::StatusOr<RecallTask> MakeRecallTask(const RecallTaskOptions& options,
                                          const Tokenizer& tokenizer);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_RECALL_TASK_H_
