// How a training run is made ready (trainer/loop/train_loop.h).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/loop/train_loop.h"

namespace wyvern {
namespace {

// How long other ranks wait while rank 0 prepares the data.
constexpr double kPreparationSeconds = 7 * 24 * 3600;

}  // namespace

TrainingRun::TrainingRun(const RunPlan& plan, World* world)
    : plan_(plan), world_(world), run_dir_(plan.config.RunDir()) {}

absl::StatusOr<std::unique_ptr<TrainingRun>> TrainingRun::Open(const RunPlan& plan,
                                                               const std::string& resume,
                                                               World* world, Preflight* preflight) {
  std::unique_ptr<TrainingRun> run(new TrainingRun(plan, world));
  absl::StatusOr<std::string> checkpoint = std::string();
  if (run->IsFirst()) checkpoint = run->Begin(resume);
  absl::Status status = run->Agreed(checkpoint.status());
  if (status.ok()) status = run->Prepare(preflight);
  if (status.ok()) status = run->Resume(*checkpoint);
  if (status.ok()) return run;
  LogOfRank(absl::StrCat("fails: ", status.message()));
  return status;
}

absl::Status TrainingRun::TakeFolder() {
  RETURN_IF_ERROR(MakeFolders(run_dir_));
  ASSIGN_OR_RETURN(lock_, TakeRunLock(run_dir_));
  KeepWhatIsSaid(run_dir_ + "/console.log");
  // A run that has only been killed while it rotated may have nothing more to save.
  RemoveLeftovers(CheckpointFolder(run_dir_, 0), /*all_steps=*/true);
  return absl::OkStatus();
}

absl::StatusOr<std::string> TrainingRun::Begin(const std::string& resume) {
  RETURN_IF_ERROR(TakeFolder());
  ASSIGN_OR_RETURN(const std::string checkpoint, ChooseCheckpoint(resume));
  // A parent that does not fit shows before the data is prepared, which may take hours.
  if (checkpoint.empty()) RETURN_IF_ERROR(CheckInit());
  return checkpoint;
}

absl::Status TrainingRun::PrepareData() {
  ASSIGN_OR_RETURN(data_, PrepareRunData(plan_.config, plan_.stages, world_->size() > 1));
  ASSIGN_OR_RETURN(validation_, ValidationBatches(plan_.config, data_));
  if (!validation_.empty()) token_bytes_.emplace(*data_.tokenizer);
  return PrepareTasks();
}

absl::Status TrainingRun::Prepare(Preflight* preflight) {
  absl::StatusOr<std::unique_ptr<RankLog>> log = RankLog::Open(run_dir_, *world_);
  RETURN_IF_ERROR(Agreed(log.status()));
  rank_log_ = *std::move(log);
  SetCommActivity("making the mesh");
  ASSIGN_OR_RETURN(std::unique_ptr<Mesh> mesh, MakeMesh(plan_, world_));
  if (preflight != nullptr && mesh != nullptr) {
    RETURN_IF_ERROR(preflight->MeasureMesh(*mesh));
    LogOfRank(preflight->notes());
  }
  SetCommActivity("preparing the data");
  // Rank 0 makes what is not there yet, which may take hours; the others find it.
  SetCommTimeout(kPreparationSeconds);
  RETURN_IF_ERROR(Agreed(IsFirst() ? PrepareData() : absl::OkStatus()));
  SetCommTimeout(plan_.config.parallel.timeout);
  RETURN_IF_ERROR(Agreed(IsFirst() ? absl::OkStatus() : PrepareData()));
  if (preflight != nullptr && mesh != nullptr) RETURN_IF_ERROR(preflight->CheckData(data_));
  engine_ = MakeEngine(plan_, std::move(mesh));
  saver_ = std::make_unique<CheckpointSaver>(
      run_dir_, static_cast<int>(std::max<int64_t>(plan_.config.checkpoint.keep, 0)), world_,
      plan_.device, CheckpointWriteOptions{.keep_every = plan_.config.checkpoint.keep_every});
  if (plan_.device == Device::kCuda) peak_flops_ = CurrentGpu().peak_bf16_flops;
  return absl::OkStatus();
}

}  // namespace wyvern
