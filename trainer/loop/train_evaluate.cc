// Scores of tasks while a run trains (trainer/loop/train_loop.h).
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/runtime/status.h"
#include "trainer/evaluation/evaluate.h"
#include "trainer/loop/train_loop.h"

namespace wyvern {
namespace {

// Ranks that hold a part of the model each need one another in every forward, so they score the
// same documents; all others divide them.
RankShare ShareOf(const RunPlan& plan, const World& world) {
  int64_t together = plan.mesh.expert;
  if (plan.config.parallel.zero == 3 && plan.mesh.shard > 1) {
    together = std::lcm(together, plan.mesh.shard * plan.mesh.context);
  }
  return {.index = static_cast<int>(world.rank() / together),
          .count = static_cast<int>(world.size() / together)};
}

std::string ResultsLine(const std::vector<TaskMetrics>& tasks) {
  std::string line;
  for (const TaskMetrics& task : tasks) {
    absl::StrAppend(&line, line.empty() ? "" : "; ", task.name);
    for (const TaskMetrics::Score& score : task.scores) {
      absl::StrAppendFormat(&line, "%s %s %.4f", &score == &task.scores[0] ? "" : ",", score.metric,
                            score.value);
    }
  }
  return line;
}

}  // namespace

absl::Status TrainingRun::PrepareTasks() {
  const EvaluationSection& section = plan_.config.evaluation;
  if (section.every == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<Task> tasks, ReadTasks(section.tasks));
  const RequestEncoder encoder(data_.tokenizer.get(), plan_.config.model.vocab_size,
                               {.max_length = section.max_length});
  ASSIGN_OR_RETURN(tasks_, wyvern::PrepareTasks(std::move(tasks), section.limit, encoder));
  return absl::OkStatus();
}

void TrainingRun::EvaluateTasks(StepMetrics* metrics) {
  Scorer scorer(engine_.model.get());
  const absl::StatusOr<std::vector<TaskResult>> results =
      wyvern::EvaluateTasks(tasks_, &scorer, data_.tokenizer.get(), ShareOf(plan_, *world_),
                            world_->host(), /*resample=*/false);
  if (!results.ok()) {
    log_.Line(absl::StrCat("evaluation after step ", counters_.step,
                           " failed: ", results.status().message()));
    return;
  }
  for (const TaskResult& result : *results) {
    TaskMetrics task{.name = result.name, .scores = {}};
    for (const MetricResult& metric : result.metrics) {
      task.scores.push_back({Name(metric.metric), metric.value, metric.standard_error});
    }
    metrics->tasks.push_back(std::move(task));
  }
  log_.Line(
      absl::StrCat("evaluation after step ", counters_.step, ": ", ResultsLine(metrics->tasks)));
}

}  // namespace wyvern
