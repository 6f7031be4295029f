// From which checkpoint a training run resumes, and how (trainer/loop/train_loop.h).
#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/json_members.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/model.h"
#include "trainer/checkpoint/parent_record.h"
#include "trainer/checkpoint/sharded_state.h"
#include "trainer/config/load.h"
#include "trainer/loop/resume_notes.h"
#include "trainer/loop/train_loop.h"
#include "trainer/parallel/phase.h"
#include "trainer/report/metrics_file.h"

namespace wyvern {
namespace {

std::optional<double> OptionalDouble(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

// Takes the stores out of two manifests of data, and says how they differ. They may have moved.
// `key`: of the mixture.
std::string StoresDifference(const std::string& key, nlohmann::json* now, nlohmann::json* then) {
  const auto take_stores = [](nlohmann::json* manifest) -> std::optional<std::string> {
    if (!manifest->is_object()) return std::nullopt;
    const auto found = manifest->find("stores");
    if (found == manifest->end() || !found->is_string()) return std::nullopt;
    std::string stores = found->get<std::string>();
    manifest->erase(found);
    return stores;
  };
  const auto stores_now = take_stores(now), stores_then = take_stores(then);
  if (!stores_now.has_value() || !stores_then.has_value()) return "";
  const std::string difference = ManifestDifference(*stores_now, *stores_then);
  return difference.empty() ? "" : absl::StrCat(key, ": ", difference);
}

// Which of the run's sources a stage mixes, and where it found each one. Nothing is added for the
// sources of `data` from the run's start, so that checkpoints without mixtures of stages stay
// valid.
void AddMixture(const Stage& stage, const StageData& data,
                const std::vector<std::shared_ptr<TokenStore>>& stores, nlohmann::json* manifest) {
  nlohmann::json numbers = nlohmann::json::array(), positions = nlohmann::json::object();
  bool in_order = true;
  for (const StageSource& source : stage.mixture) {
    in_order = in_order && source.source == static_cast<int64_t>(numbers.size());
    numbers.push_back(source.source);
  }
  for (size_t i = 0; i < stores.size(); ++i) {
    if (data.positions[i] == 0) continue;
    positions[absl::StrCat(i)] = absl::StrCat(stores[i]->fingerprint(), " ", data.positions[i]);
  }
  if (in_order && positions.empty()) return;
  (*manifest)["mixture"] = {{"first_token", stage.mixture_first_token},
                            {"sources", std::move(numbers)},
                            {"positions", std::move(positions)}};
}

}  // namespace

nlohmann::json TrainingRun::DataManifest() const {
  const Stage& stage = StageOfStep(plan_.stages, std::max<int64_t>(counters_.step - 1, 0));
  const StageData& data = data_.stages[static_cast<size_t>(stage.index)];
  nlohmann::json manifest = BatchManifest(plan_.config, stage);
  manifest["stores"] = data.sampler->Manifest();
  AddMixture(stage, data, data_.stores, &manifest);
  WriteBatchChanges(batch_changes_, &manifest);
  return manifest;
}

absl::StatusOr<std::string> TrainingRun::ContinueData(const CheckpointInfo& checkpoint,
                                                      const nlohmann::json& data) {
  const JsonMembers members(data, absl::StrCat(checkpoint.path, "/", kManifestName), "meta.data");
  ASSIGN_OR_RETURN(batch_changes_, ReadBatchChanges(members, counters_.step));
  for (const BatchChange& change : batch_changes_) {
    ChangeBatches(change.step, change.tokens, &plan_.stages);
  }
  if (!batch_changes_.empty()) RETURN_IF_ERROR(MakeStages(plan_.config, plan_.stages, &data_));
  nlohmann::json now = DataManifest(), then = data;
  const Stage& stage = StageOfStep(plan_.stages, std::max<int64_t>(counters_.step - 1, 0));
  const std::string different = StoresDifference(MixtureKey(plan_.config, stage), &now, &then);
  if (!different.empty()) return DifferentData(checkpoint.path, different);
  const BatchDifference difference{.config = plan_.config,
                                   .stages = plan_.stages,
                                   .step = counters_.step,
                                   .stage_updates = counters_.stage_updates,
                                   .now = now,
                                   .then = then};
  RETURN_IF_ERROR(difference.CheckFrom(checkpoint.path));
  if (now == then) return "";
  if (difference.Moves()) {
    batch_changes_.push_back(difference.Change());
    ChangeBatches(batch_changes_.back().step, batch_changes_.back().tokens, &plan_.stages);
    RETURN_IF_ERROR(MakeStages(plan_.config, plan_.stages, &data_));
  }
  return difference.Note(StageOfStep(plan_.stages, counters_.step));
}

absl::StatusOr<std::string> TrainingRun::ChooseCheckpoint(const std::string& resume) {
  std::vector<std::string> damaged;
  ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> own, ListCheckpoints(run_dir_, &damaged));
  const std::string& branch_of = plan_.config.run.branch_of;
  const std::string named = CheckpointPath(resume, run_dir_);
  bool own_run = resume == "auto" || resume == "none";
  if (own_run) {
    if (own.empty() && damaged.empty()) {
      RETURN_IF_ERROR(CheckNothingIsLost());
      if (branch_of.empty()) return std::string();
      const absl::StatusOr<CheckpointInfo> parent = OpenCheckpoint(branch_of);
      if (parent.ok()) return Newest(branch_of, *parent);
      return absl::Status(parent.status().code(),
                          absl::StrCat("run.branch_of: ", parent.status().message()));
    }
    if (own.empty()) {
      return absl::DataLossError(absl::StrCat(
          run_dir_,
          " holds a run, but no checkpoint of it is complete: ", absl::StrJoin(damaged, "; "),
          "; restore one, remove the run folder to begin anew, or set another run.dir"));
    }
    if (resume == "none") {
      return absl::FailedPreconditionError(
          absl::StrCat("--resume none: ", run_dir_, " already holds a run, saved up to step ",
                       own.back().step, "; set another run.dir, or remove the folder"));
    }
  } else if (!own.empty() && own.back().meta.is_object() &&
             IsBranchOf(own.back().meta.value("parent", nlohmann::json()), named)) {
    // The same command again, after a kill or in a queue.
    Say(absl::StrCat(run_dir_, " branched off from ", resume, " and is at step ", own.back().step,
                     " already"));
    own_run = true;
  }
  ASSIGN_OR_RETURN(const CheckpointInfo chosen, OpenCheckpoint(own_run ? run_dir_ : named));
  if (!own.empty() && chosen.step < own.back().step) {
    return absl::FailedPreconditionError(
        absl::StrCat("--resume ", resume, ": it is at step ", chosen.step, ", but ", run_dir_,
                     " holds a later checkpoint (", own.back().path,
                     "); remove the later ones, or set another run.dir to branch off"));
  }
  return Newest(own_run ? run_dir_ : named, chosen);
}

std::string TrainingRun::Newest(const std::string& given, const CheckpointInfo& found) {
  for (const std::string& line : found.passed_over) Say(line);
  if (found.path != given) newest_of_ = given;
  return found.path;
}

std::string TrainingRun::CheckpointBefore(const std::string& checkpoint) const {
  if (newest_of_.empty()) return "";
  const auto all = ListCheckpoints(newest_of_);
  const auto step =
      StepOfFolderName(std::filesystem::path(checkpoint).lexically_normal().filename().string());
  if (!all.ok() || !step.has_value()) return "";
  std::string before;
  for (const CheckpointInfo& one : *all) {
    if (one.step < *step) before = one.path;
  }
  return before;
}

absl::Status TrainingRun::CheckNothingIsLost() const {
  const std::string path = run_dir_ + "/metrics.jsonl";
  std::error_code error;
  const int64_t every = plan_.config.checkpoint.every;
  if (every == 0 || !std::filesystem::exists(path, error)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kMetricsFile, path));
  const MetricsLines metrics = ParseMetrics(text);
  if (metrics.lines.empty()) return absl::OkStatus();
  const int64_t first = metrics.lines.front().step;  // of a branch, the one behind its parent's
  int64_t step = first;
  for (const MetricsLine& line : metrics.lines) step = std::max(step, line.step);
  // The second checkpoint waits for the first, so one is complete in the steps behind it.
  if (step - first <= 2 * every) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      run_dir_, " holds metrics up to step ", step,
      " and no checkpoint; restore its checkpoints/, remove the run folder to begin anew, or "
      "set another run.dir"));
}

bool TrainingRun::IsOwn(const std::string& checkpoint) const {
  const std::string name = std::filesystem::path(checkpoint).lexically_normal().filename();
  std::error_code error;
  return std::filesystem::equivalent(checkpoint, run_dir_ + "/checkpoints/" + name, error);
}

absl::Status TrainingRun::Resume(const std::string& checkpoint) {
  SetCommActivity("resuming");
  const std::string path = GatherTexts(world_->host(), checkpoint).front();  // rank 0 decides
  if (path.empty()) {
    RETURN_IF_ERROR(Initialize());
  } else {
    ASSIGN_OR_RETURN(const CheckpointInfo read, ReadWhole(path));
    RETURN_IF_ERROR(Agreed(Restore(read)));
  }
  if (engine_.parallel != nullptr) engine_.parallel->ValuesChanged();
  first_step_ = counters_.step;
  if (first_step_ > 0) LogOfRank(absl::StrCat("resumed from step ", first_step_));
  return Agreed(ReadFaults(world_->rank(), first_step_ > 0));
}

absl::StatusOr<CheckpointInfo> TrainingRun::ReadWhole(const std::string& checkpoint) {
  std::string path = checkpoint;
  while (true) {
    absl::StatusOr<CheckpointInfo> read = ReadTensors(path);
    const absl::Status status = Agreed(read.status());
    if (status.ok()) return read;
    if (!absl::IsDataLoss(status)) return status;
    const std::string before =
        GatherTexts(world_->host(), IsFirst() ? CheckpointBefore(path) : "").front();
    if (before.empty() && newest_of_.empty()) return status;
    if (before.empty()) {
      return absl::DataLossError(
          absl::StrCat(status.message(), "; no checkpoint of ", newest_of_,
                       " is left that is complete: restore one, or begin anew in another run.dir"));
    }
    if (IsFirst()) Say(PassedOver(path, status.message()));
    path = before;
  }
}

absl::StatusOr<CheckpointInfo> TrainingRun::ReadTensors(const std::string& path) {
  ASSIGN_OR_RETURN(CheckpointInfo checkpoint, OpenCheckpoint(path));
  if (!checkpoint.meta.is_object() || !checkpoint.meta.contains("training")) {
    return absl::FailedPreconditionError(absl::StrCat(
        checkpoint.path, ": holds a model but no training run, so there is nothing to resume"));
  }
  const TrainingState state{.model = engine_.model.get(), .tokenizer = data_.tokenizer.get()};
  RETURN_IF_ERROR(CheckModel(checkpoint, state));
  RETURN_IF_ERROR(ReadState(checkpoint, *engine_.optimizer));
  RETURN_IF_ERROR(ReadCheckpoint(checkpoint.path, BufferTensors(engine_.model.get())));
  return checkpoint;
}

absl::Status TrainingRun::Restore(const CheckpointInfo& checkpoint) {
  const JsonMembers meta(checkpoint.meta, absl::StrCat(checkpoint.path, "/", kManifestName),
                         "meta");
  ASSIGN_OR_RETURN(const nlohmann::json* values, meta.Object("training"));
  ASSIGN_OR_RETURN(const nlohmann::json* data, meta.Object("data"));
  const JsonMembers training = meta.At("training");
  ASSIGN_OR_RETURN(counters_.step, training.Count("step", checkpoint.step));
  ASSIGN_OR_RETURN(counters_.updates, training.Count("updates", checkpoint.step));
  ASSIGN_OR_RETURN(counters_.stage_updates, training.Count("stage_updates", counters_.updates));
  ASSIGN_OR_RETURN(counters_.skipped_in_a_row, training.Count("skipped_in_a_row", 0));
  if (counters_.step != checkpoint.step) {
    return training.Expected("step", absl::StrCat("the checkpoint's ", checkpoint.step));
  }
  if (std::max({counters_.updates, counters_.stage_updates, counters_.skipped_in_a_row}) >
      counters_.step) {
    return training.Expected("updates", absl::StrCat("counts of at most ", counters_.step));
  }
  ASSIGN_OR_RETURN(const std::string data_note, ContinueData(checkpoint, *data));
  counters_.first_val_loss = OptionalDouble(*values, "first_val_loss");
  counters_.last_val_loss = OptionalDouble(*values, "last_val_loss");
  if (IsOwn(checkpoint.path)) {
    saved_step_ = counters_.step;
    if (meta.Has("parent")) parent_ = checkpoint.meta["parent"];
  } else {
    ASSIGN_OR_RETURN(parent_, ParentRecord(checkpoint, kBranchParent));
    unlogged_parent_ = parent_;
  }
  Say(absl::StrCat("resuming from ", checkpoint.path));
  ASSIGN_OR_RETURN(const std::string config, meta.String("config"));
  const auto before = ParseRunConfig(config, "the checkpoint's configuration");
  if (before.ok()) {
    for (const std::string& change : Differences(*before, plan_.config)) {
      Say(absl::StrCat("  changed since then: ", change));
    }
    const std::string note =
        ExtensionNote(*before, plan_.config, counters_.step, counters_.stage_updates);
    if (!note.empty()) Say(absl::StrCat("  ", note));
  }
  if (!data_note.empty()) Say(absl::StrCat("  ", data_note));
  return absl::OkStatus();
}

}  // namespace wyvern
