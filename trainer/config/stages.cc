#include "trainer/config/stages.h"

#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"

namespace wyvern {
namespace {

// The numbers of a run's sources by their folders.
std::map<std::string, int64_t> NumbersOf(const std::vector<RunSource>& sources) {
  std::map<std::string, int64_t> numbers;
  for (size_t i = 0; i < sources.size(); ++i) {
    numbers.emplace(SourceFolder(sources[i].source.dir), static_cast<int64_t>(i));
  }
  return numbers;
}

int64_t CeilDivide(int64_t a, int64_t b) { return b > 0 ? a / b + (a % b > 0) : 0; }

// Puts a stage behind the one before it.
void Follow(const Stage& before, Stage* stage) {
  stage->first_step = stage->batches_first_step = before.end_step();
  stage->first_token = stage->batches_first_token = before.end_token();
  stage->mixture_first_token =
      stage->mixture == before.mixture ? before.mixture_first_token : stage->first_token;
}

int64_t StepsOr(int64_t steps, int64_t tokens, int64_t batch_tokens) {
  return steps > 0 ? steps : CeilDivide(tokens, batch_tokens);
}

}  // namespace

int64_t Stage::WarmupSteps() const {
  return StepsOr(schedule.warmup_steps, schedule.warmup_tokens, batch_tokens);
}

int64_t Stage::DecaySteps() const {
  if (schedule.type != ScheduleType::kWsd) return 0;
  return StepsOr(schedule.decay_steps, schedule.decay_tokens, batch_tokens);
}

std::string SourceFolder(const std::string& dir) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::weakly_canonical(AbsolutePath(dir), error);
  if (error || path.empty()) path = std::filesystem::path(dir).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).string();
}

std::vector<RunSource> SourcesOf(const RunConfig& config) {
  std::vector<RunSource> sources;
  std::set<std::string> folders;
  for (size_t i = 0; i < config.data.sources.size(); ++i) {
    sources.push_back({config.data.sources[i], absl::StrCat("data.sources[", i, "]")});
    folders.insert(SourceFolder(config.data.sources[i].dir));
  }
  for (size_t i = 0; i < config.stages.size(); ++i) {
    const std::vector<DataSource>& added = config.stages[i].sources;
    for (size_t j = 0; j < added.size(); ++j) {
      if (!folders.insert(SourceFolder(added[j].dir)).second) continue;
      sources.push_back({added[j], absl::StrCat("stages[", i, "].sources[", j, "]")});
    }
  }
  return sources;
}

std::vector<Stage> StagesOf(const RunConfig& config) {
  const TrainSection& train = config.train;
  Stage base{.seq_len = config.data.seq_len,
             .batch_tokens = train.batch_tokens,
             .micro_batch = train.micro_batch,
             .document_boundary = config.data.document_boundary,
             .balance_rate = train.balance_rate,
             .schedule = config.schedule};
  for (const DataSource& source : config.data.sources) {
    base.mixture.push_back({static_cast<int64_t>(base.mixture.size()), source.weight});
  }
  const std::map<std::string, int64_t> numbers = NumbersOf(SourcesOf(config));
  std::vector<Stage> stages;
  if (config.stages.empty()) {
    stages.push_back(base);
    stages[0].num_steps = StepsOr(train.steps, train.tokens, train.batch_tokens);
  }
  for (const StageSection& section : config.stages) {
    Stage stage = base;
    if (section.seq_len > 0) stage.seq_len = section.seq_len;
    if (section.batch_tokens > 0) stage.batch_tokens = section.batch_tokens;
    if (section.micro_batch > 0) stage.micro_batch = section.micro_batch;
    if (section.document_boundary.has_value()) {
      stage.document_boundary = *section.document_boundary;
    }
    if (!section.sources.empty()) stage.mixture.clear();
    for (const DataSource& source : section.sources) {
      stage.mixture.push_back({numbers.at(SourceFolder(source.dir)), source.weight});
    }
    if (section.balance_rate.has_value()) stage.balance_rate = *section.balance_rate;
    stage.name = section.name;
    stage.schedule = section.schedule;
    stage.num_steps = StepsOr(section.steps, section.tokens, stage.batch_tokens);
    stage.index = static_cast<int64_t>(stages.size());
    if (!stages.empty()) Follow(stages.back(), &stage);
    stages.push_back(std::move(stage));
  }
  return stages;
}

void ChangeBatches(int64_t step, int64_t token, std::vector<Stage>* stages) {
  auto i = static_cast<size_t>(StageOfStep(*stages, step).index);
  (*stages)[i].batches_first_step = step;
  (*stages)[i].batches_first_token = token;
  while (++i < stages->size()) Follow((*stages)[i - 1], &(*stages)[i]);
}

const Stage& StageOfStep(const std::vector<Stage>& stages, int64_t step) {
  for (const Stage& stage : stages) {
    if (step < stage.end_step()) return stage;
  }
  return stages.back();
}

int64_t TokensBefore(const std::vector<Stage>& stages, int64_t step) {
  const Stage& stage = StageOfStep(stages, step);
  return stage.batches_first_token + (step - stage.batches_first_step) * stage.batch_tokens;
}

}  // namespace wyvern
