#include "trainer/evaluation/evaluate.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "data/io/json.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"
#include "trainer/evaluation/documents.h"
#include "trainer/requests/share.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// The answers to this rank's requests, a line each.
absl::StatusOr<std::string> AnswerShare(absl::Span<const PreparedTask> tasks, Scorer* scorer,
                                        const Tokenizer* tokenizer, RankShare share) {
  std::vector<Request> requests;
  for (const PreparedTask& task : tasks) {
    requests.insert(requests.end(), task.requests.begin(), task.requests.end());
  }
  requests = ShareOfRank(std::move(requests), share.index, share.count);
  ASSIGN_OR_RETURN(const std::vector<Json> answers, Answer(scorer, tokenizer, requests));
  std::string lines;
  for (const Json& answer : answers) absl::StrAppend(&lines, JsonText(answer), "\n");
  return lines;
}

// The lines of each share once, whichever rank has them.
std::vector<std::string> GatherShares(const std::string& lines, RankShare share,
                                      Communicator& ranks) {
  const std::vector<std::string> indices = GatherTexts(ranks, absl::StrCat(share.index));
  const std::vector<std::string> all = GatherTexts(ranks, lines);
  std::vector<std::string> shares(static_cast<size_t>(share.count));
  for (size_t rank = 0; rank < all.size(); ++rank) {
    size_t index = 0;
    CHECK(absl::SimpleAtoi(indices[rank], &index) && index < shares.size(), "share of rank ", rank,
          ": ", indices[rank]);
    shares[index] = all[rank];
  }
  return shares;
}

}  // namespace

absl::StatusOr<std::vector<Task>> ReadTasks(absl::Span<const std::string> paths) {
  std::vector<Task> tasks;
  std::set<std::string> names;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(Task task, ReadTask(path));
    if (!names.insert(task.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": task: another file's task is named ", task.name, ", too"));
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

absl::Status CheckTasks(absl::Span<const std::string> paths) {
  ASSIGN_OR_RETURN(const std::vector<Task> tasks, ReadTasks(paths));
  for (const Task& task : tasks) {
    RETURN_IF_ERROR(ReadDocuments(task.data_files, /*limit=*/0).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PreparedTask>> PrepareTasks(std::vector<Task> tasks, int64_t limit,
                                                       const RequestEncoder& encoder) {
  if (encoder.tokenizer() == nullptr) {
    return absl::InvalidArgumentError("the checkpoint holds no tokenizer, which tasks need");
  }
  std::vector<PreparedTask> prepared;
  for (Task& task : tasks) {
    ASSIGN_OR_RETURN(PreparedTask ready, PrepareTask(std::move(task), limit, encoder));
    prepared.push_back(std::move(ready));
  }
  return prepared;
}

absl::StatusOr<std::vector<TaskResult>> EvaluateTasks(absl::Span<const PreparedTask> tasks,
                                                      Scorer* scorer, const Tokenizer* tokenizer,
                                                      RankShare share, Communicator& ranks,
                                                      bool resample) {
  const absl::StatusOr<std::string> lines = AnswerShare(tasks, scorer, tokenizer, share);
  RETURN_IF_ERROR(Agree(ranks, lines.status()));
  const std::string all = LinesInOrder(GatherShares(*lines, share, ranks));
  std::vector<Json> answers;
  for (const absl::string_view line : absl::StrSplit(all, '\n', absl::SkipEmpty())) {
    ASSIGN_OR_RETURN(Json answer, ParseJson(line, "an answer"));
    answers.push_back(std::move(answer));
  }
  std::vector<TaskResult> results;
  absl::Span<const Json> rest = answers;
  for (const PreparedTask& task : tasks) {
    results.push_back(Grade(task, rest.first(task.requests.size()), resample));
    rest.remove_prefix(task.requests.size());
  }
  return results;
}

std::string ResultsText(absl::Span<const TaskResult> results) {
  std::vector<std::array<std::string, 5>> rows = {
      {"task", "documents", "metric", "value", "stderr"}};
  for (const TaskResult& task : results) {
    for (const MetricResult& metric : task.metrics) {
      rows.push_back(
          {task.name, absl::StrCat(task.num_documents),
           absl::StrCat(Name(metric.metric), IsHigherBetter(metric.metric) ? " (up)" : " (down)"),
           absl::StrFormat("%.4f", metric.value),
           metric.standard_error.has_value() ? absl::StrFormat("%.4f", *metric.standard_error)
                                             : "-"});
    }
  }
  std::array<size_t, 5> widths = {};
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const auto& row : rows) {
    absl::StrAppendFormat(&text, "%-*s  %*s  %-*s  %*s  %*s\n", widths[0], row[0], widths[1],
                          row[1], widths[2], row[2], widths[3], row[3], widths[4], row[4]);
  }
  for (const TaskResult& task : results) {
    if (task.num_without_choice == 0) continue;
    absl::StrAppend(&text, task.name, ": the target of ", task.num_without_choice, " of ",
                    task.num_documents,
                    " documents is none of their choices; they count as wrong\n");
  }
  return text;
}

Json ResultsJson(absl::Span<const TaskResult> results) {
  Json json = {{"results", Json::object()}, {"n-samples", Json::object()}};
  for (const TaskResult& task : results) {
    Json& values = json["results"][task.name] = {{"alias", task.name}};
    for (const MetricResult& metric : task.metrics) {
      values[absl::StrCat(Name(metric.metric), ",none")] = metric.value;
      Json& error = values[absl::StrCat(Name(metric.metric), "_stderr,none")];
      error = metric.standard_error.has_value() ? Json(*metric.standard_error) : Json("N/A");
    }
    json["n-samples"][task.name] = {{"effective", task.num_documents}};
    if (task.num_without_choice > 0) {
      json["n-samples"][task.name]["without_choice"] = task.num_without_choice;
    }
  }
  return json;
}

}  // namespace wyvern
