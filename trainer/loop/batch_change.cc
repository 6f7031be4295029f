#include "trainer/loop/batch_change.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr char kChanges[] = "batch_changes";

bool Differs(const nlohmann::json& now, const nlohmann::json& then, const char* key) {
  return now.value(key, nlohmann::json()) != then.value(key, nlohmann::json());
}

int64_t Count(const nlohmann::json& data, const char* key) {
  return JsonInteger(data.value(key, nlohmann::json())).value_or(0);
}

int64_t BatchTokens(const nlohmann::json& data) {
  return Count(data, "batch_windows") * Count(data, "seq_len");
}

}  // namespace

nlohmann::json BatchManifest(const RunConfig& config, const Stage& stage) {
  nlohmann::json manifest = {{"seed", config.run.seed},
                             {"seq_len", stage.seq_len},
                             {"batch_windows", stage.batch_tokens / stage.seq_len},
                             {"document_boundary", Name(stage.document_boundary)}};
  if (stage.index > 0) {
    manifest["stage_first_step"] = stage.first_step;
    manifest["stage_first_token"] = stage.first_token;
  }
  return manifest;
}

std::string MixtureKey(const RunConfig& config, const Stage& stage) {
  const auto index = static_cast<size_t>(stage.index);
  const bool own = index < config.stages.size() && !config.stages[index].sources.empty();
  return own ? absl::StrCat("stages[", index, "].sources") : "data.sources";
}

absl::Status DifferentData(const std::string& checkpoint, const std::string& difference) {
  return absl::FailedPreconditionError(absl::StrCat(
      checkpoint,
      ": this checkpoint was trained on different data, so its data position cannot be resumed: ",
      difference,
      "; resume with the same data; give the new one to stages[].sources of a stage that begins at "
      "this step, of the run or of a branch (wyvern branch RUN@STEP NEW); or start a new run in "
      "another run.dir"));
}

absl::StatusOr<std::vector<BatchChange>> ReadBatchChanges(const JsonMembers& data, int64_t step) {
  std::vector<BatchChange> changes;
  if (!data.Has(kChanges)) return changes;
  const JsonMembers members = data.At(kChanges);
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, members.Counts("steps"));
  ASSIGN_OR_RETURN(const std::vector<int64_t> tokens, members.Counts("tokens"));
  if (steps.size() != tokens.size() || !std::is_sorted(steps.begin(), steps.end()) ||
      !std::is_sorted(tokens.begin(), tokens.end()) || (!steps.empty() && steps.back() > step)) {
    return members.Expected("steps",
                            absl::StrCat("ascending steps up to ", step, ", each with its tokens"));
  }
  for (size_t i = 0; i < steps.size(); ++i) changes.push_back({steps[i], tokens[i]});
  return changes;
}

void WriteBatchChanges(const std::vector<BatchChange>& changes, nlohmann::json* data) {
  if (changes.empty()) return;
  nlohmann::json& json = (*data)[kChanges];
  for (const BatchChange& change : changes) {
    json["steps"].push_back(change.step);
    json["tokens"].push_back(change.tokens);
  }
}

bool BatchDifference::IsAll() const {
  if (!now.is_object() || !then.is_object()) return false;
  nlohmann::json ours = now, theirs = then;
  for (const char* key : {"seq_len", "batch_windows", "document_boundary", "seed"}) {
    ours.erase(key);
    theirs.erase(key);
  }
  return ours == theirs;
}

std::string BatchDifference::Describe() const {
  const Stage& stage = StageOfStep(stages, std::max<int64_t>(step - 1, 0));
  if (Differs(now, then, "stage_first_step") || Differs(now, then, "stage_first_token")) {
    const auto begins = [](const nlohmann::json& data) {
      return absl::StrCat("step ", Count(data, "stage_first_step"), " after ",
                          Count(data, "stage_first_token"), " tokens");
    };
    return absl::StrCat("stages[", stage.index, "]: begins at ", begins(now), ", began at ",
                        begins(then), " (steps and batch_tokens of the stages before it)");
  }
  return absl::StrCat(MixtureKey(config, stage),
                      ": its sources, or what was read of them before, are others");
}

bool BatchDifference::Moves() const {
  return Differs(now, then, "batch_windows") || Differs(now, then, "seq_len");
}

BatchChange BatchDifference::Change() const {
  const Stage& stage = StageOfStep(stages, step);
  return {step, stage.batches_first_token + (step - stage.batches_first_step) * BatchTokens(then)};
}

absl::Status BatchDifference::Check() const {
  const Stage& stage = StageOfStep(stages, step);
  const bool only_stage = config.stages.empty();
  const std::string name = absl::StrCat("stages[", stage.index, "]");
  const std::string train = only_stage ? "train" : name;
  const std::string key = Differs(now, then, "batch_windows") ? train + ".batch_tokens"
                          : Differs(now, then, "seq_len")
                              ? (only_stage ? "data" : name) + ".seq_len"
                          : Differs(now, then, "document_boundary")
                              ? (only_stage ? "data" : name) + ".document_boundary"
                              : "run.seed";
  // The manifests describe the last step that was done.
  if (step >= stages.back().end_step()) {
    return absl::FailedPreconditionError(
        absl::StrCat(key, ": the run has ended with step ", step,
                     ", so no step is left for another value; give more steps, or the former one"));
  }
  if (step == stage.first_step && stage.index > 0 && key != "run.seed") {
    return absl::FailedPreconditionError(absl::StrCat(
        "stages[", stage.index - 1, "]: it ended with step ", step,
        ", so its batches cannot change any more; give the former values back there, and "
        "the new ones to ",
        name));
  }
  if (BatchTokens(now) == BatchTokens(then)) return absl::OkStatus();
  if ((only_stage ? config.train.tokens : config.stages[stage.index].tokens) > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        train, ".tokens: with another batch from step ", step,
        " on it does not say how many steps there are; give ", train, ".steps in its place"));
  }
  if (stage.schedule.warmup_tokens > 0 && stage_updates < stage.WarmupSteps()) {
    return absl::FailedPreconditionError(absl::StrCat(
        only_stage ? "" : name + ".", "schedule.warmup_tokens: with another batch at step ", step,
        " it does not say where the warm-up ends; give schedule.warmup_steps in its place"));
  }
  return absl::OkStatus();
}

absl::Status BatchDifference::CheckFrom(const std::string& checkpoint) const {
  if (!IsAll()) return DifferentData(checkpoint, Describe());
  if (now == then) return absl::OkStatus();
  const absl::Status status = Check();
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(checkpoint, ": ", status.message()));
}

std::string BatchDifference::Note(const Stage& changed) const {
  std::string note =
      absl::StrCat("from step ", step + 1, " on: ", changed.SamplesPerStep(), " samples of ",
                   changed.seq_len, " tokens a step, the first of them sample ",
                   changed.SampleAt(step), " of the order of seed ", config.run.seed);
  if (Differs(now, then, "seed")) {
    absl::StrAppend(&note,
                    "; that is another order than before, so text of this epoch may come "
                    "twice or not at all");
  }
  return note;
}

}  // namespace wyvern
