// Tasks scored by a model, on any number of ranks.
#ifndef WYVERN_TRAINER_EVALUATION_EVALUATE_H_
#define WYVERN_TRAINER_EVALUATION_EVALUATE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/comm/world.h"
#include "trainer/evaluation/prepared_task.h"

namespace wyvern {

// Reads the tasks of the files. Errors: as of ReadTask; two tasks of one name.
absl::StatusOr<std::vector<Task>> ReadTasks(absl::Span<const std::string> paths);

// Whether the tasks and their documents can be read. Errors: as of ReadTasks and ReadDocuments.
absl::Status CheckTasks(absl::Span<const std::string> paths);

// Errors: as of PrepareTask; a checkpoint without a tokenizer.
absl::StatusOr<std::vector<PreparedTask>> PrepareTasks(std::vector<Task> tasks, int64_t limit,
                                                       const RequestEncoder& encoder);

// Which part of the requests this rank answers.
struct RankShare {
  int index = 0, count = 1;
};

// All ranks call it with the same tasks, and get the same results or the same status. Ranks of one
// share answer the same requests. `resample`: as of Grade. Errors: as of Answer.
absl::StatusOr<std::vector<TaskResult>> EvaluateTasks(absl::Span<const PreparedTask> tasks,
                                                      Scorer* scorer, const Tokenizer* tokenizer,
                                                      RankShare share, Communicator& ranks,
                                                      bool resample);

// A table with a line for each metric.
std::string ResultsText(absl::Span<const TaskResult> results);
// The results as in the files that lm-eval writes.
nlohmann::json ResultsJson(absl::Span<const TaskResult> results);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_EVALUATE_H_
