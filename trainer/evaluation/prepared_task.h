// A task with its documents as requests to a model, and what their answers are worth.
#ifndef WYVERN_TRAINER_EVALUATION_PREPARED_TASK_H_
#define WYVERN_TRAINER_EVALUATION_PREPARED_TASK_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/evaluation/task.h"
#include "trainer/requests/request.h"

namespace wyvern {

// By what the answers to a document's requests are judged.
struct DocumentKey {
  size_t num_requests = 1;
  // Code points and bytes of each choice, and the numbers of those that are right; a number of no
  // choice never is.
  std::vector<int64_t> characters, bytes, right;
  int64_t num_words = 0, num_bytes = 0;  // of a rolling text
  std::vector<std::string> targets;      // of a text that is written
  bool one_suffices = false;             // they are a list; else there is one
};

struct PreparedTask {
  Task task;
  std::vector<DocumentKey> documents;
  std::vector<Request> requests;  // of one document after another
};

// Makes lm-eval's requests of the first `limit` documents (0: all). The encoder has a tokenizer.
// Errors name the task's file or the document's line, and the key.
absl::StatusOr<PreparedTask> PrepareTask(Task task, int64_t limit, const RequestEncoder& encoder);

struct MetricResult {
  Metric metric = Metric::kAcc;
  double value = 0;
  std::optional<double> standard_error;  // where lm-eval has one, and there are two documents
};

struct TaskResult {
  std::string name;
  int64_t num_documents = 0;
  int64_t num_without_choice = 0;  // documents none of whose choices is right; they count as wrong
  std::vector<MetricResult> metrics;
};

// The results of a task, given the answers to its requests (trainer/requests/request.h). They are
// those of lm-eval. The error of a perplexity is estimated by 100,000 resamplings, which take time:
// `resample` says whether it is wanted.
TaskResult Grade(const PreparedTask& task, absl::Span<const nlohmann::json> answers, bool resample);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_PREPARED_TASK_H_
