#include "trainer/loop/train_loop.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "data/sampling/prefetcher.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/config/load.h"
#include "trainer/inference/eval.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/parallel/phase.h"
#include "trainer/report/standard_output.h"
#include "trainer/run/stop_signal.h"

namespace wyvern {
namespace {

// A run whose every step is skipped learns nothing and would go on doing so.
constexpr int64_t kMaxSkippedInARow = 50;

// That ranks wait for rank 0 to prepare the data.
constexpr double kPreparationSeconds = 7 * 24 * 3600;

}  // namespace

TrainingRun::TrainingRun(const RunPlan& plan, World* world)
    : plan_(plan), world_(world), run_dir_(plan.config.RunDir()) {}

absl::StatusOr<std::unique_ptr<TrainingRun>> TrainingRun::Open(const RunPlan& plan,
                                                               const std::string& resume,
                                                               World* world, Preflight* preflight) {
  std::unique_ptr<TrainingRun> run(new TrainingRun(plan, world));
  absl::Status status = run->Prepare(preflight);
  if (status.ok()) status = run->Resume(resume);
  if (status.ok()) return run;
  LogOfRank(absl::StrCat("fails: ", status.message()));
  return status;
}

absl::Status TrainingRun::TakeFolder() {
  RETURN_IF_ERROR(MakeFolders(run_dir_));
  ASSIGN_OR_RETURN(lock_, TakeRunLock(run_dir_));
  // A run that has only been killed while it rotated may have nothing more to save.
  RemoveLeftovers(CheckpointFolder(run_dir_, 0), /*all_steps=*/true);
  return absl::OkStatus();
}

absl::Status TrainingRun::PrepareData() {
  ASSIGN_OR_RETURN(data_, PrepareRunData(plan_.config, plan_.stages));
  ASSIGN_OR_RETURN(validation_, ValidationBatches(plan_.config, data_));
  return absl::OkStatus();
}

absl::Status TrainingRun::Prepare(Preflight* preflight) {
  RETURN_IF_ERROR(Agreed(IsFirst() ? TakeFolder() : absl::OkStatus()));
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
      run_dir_, static_cast<int>(plan_.config.checkpoint.keep), world_, plan_.device);
  if (plan_.device == Device::kCuda) peak_flops_ = CurrentGpu().peak_bf16_flops;
  return absl::OkStatus();
}

absl::Status TrainingRun::OpenLogs() {
  RETURN_IF_ERROR(WriteFileAtomically(run_dir_ + "/config.yaml", ToYaml(plan_.config)));
  std::string warning;
  ASSIGN_OR_RETURN(metrics_,
                   MetricsLog::Open(run_dir_, first_step_ > 0 ? first_step_ : -1, &warning));
  if (!warning.empty()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  ASSIGN_OR_RETURN(events_, TensorBoardWriter::Create(run_dir_ + "/tensorboard", first_step_ + 1));
  console_ = std::make_unique<Console>(plan_.total_steps(), plan_.config.logging.every);
  return absl::OkStatus();
}

absl::Status TrainingRun::Start() {
  RETURN_IF_ERROR(Agreed(IsFirst() ? OpenLogs() : absl::OkStatus()));
  if (first_step_ > 0 || validation_.empty()) return absl::OkStatus();
  SetCommActivity("validation before training");
  counters_.first_val_loss = Validate();
  counters_.last_val_loss = counters_.first_val_loss;
  if (IsFirst()) {
    console_->Line(
        absl::StrFormat("validation loss before training: %.4f", *counters_.first_val_loss));
  }
  return Agreed(Log({.step = 0, .val_loss = counters_.first_val_loss}));
}

std::optional<double> TrainingRun::Validate() {
  return Evaluate(engine_.model.get(), validation_, engine_.parallel.get()).loss;
}

int TrainingRun::ReceivedSignal() const {
  int32_t signal = StopSignal::Received();
  world_->host().AllReduce(&signal, &signal, 1, DType::kInt32, ReduceOp::kMax);
  return signal;
}

absl::Status TrainingRun::Log(const StepMetrics& metrics) {
  if (!IsFirst()) return absl::OkStatus();
  RETURN_IF_ERROR(metrics_->Append(metrics));
  return events_->AddScalars(metrics.step, metrics.Scalars());
}

void TrainingRun::AddExpertMetrics(const StepResult& result, const Stage& stage,
                                   StepMetrics* metrics) const {
  const std::vector<ExpertLoad>& loads = result.expert_loads;
  if (loads.empty()) return;
  metrics->dropped = stage.batch_tokens * plan_.config.model.moe->experts_per_token *
                     static_cast<int64_t>(loads.size());
  for (int64_t i = 0; i < plan_.config.model.num_layers; ++i) {
    if (!plan_.config.model.IsMoe(i)) continue;
    const ExpertLoad& load = loads[metrics->experts.size()];
    metrics->experts.push_back(
        {.layer = i + 1, .max_load = load.MaxOverMean(), .entropy = load.Entropy()});
    for (const int64_t n : load.rows) *metrics->dropped -= n;
  }
  if (plan_.config.train.balance_loss > 0) metrics->balance_loss = result.balance_loss;
}

absl::Status TrainingRun::OneStep(const Stage& stage, absl::Span<const Batch> batches) {
  const double begin = MonotonicSeconds();
  const double lr = Schedule(stage).RateAt(counters_.stage_updates);
  const StepResult result =
      TrainStep(engine_.model.get(), engine_.optimizer.get(), batches, lr,
                plan_.config.train.grad_clip, counters_.updates + 1, engine_.parallel.get());
  const double seconds = MonotonicSeconds() - begin;
  if (!result.updated) {
    const std::string what = absl::StrCat(
        "step ", counters_.step + 1, ": ",
        DescribeNonFinite(engine_.model.get(), result, batches, engine_.parallel.get()),
        " is not finite");
    LogOfRank(what);
    ++counters_.skipped_in_a_row;
    if (plan_.config.train.nonfinite == NonFinitePolicy::kStop) {
      return absl::AbortedError(
          absl::StrCat(what, " (train.nonfinite: stop); the model is as it was before that step"));
    }
    if (counters_.skipped_in_a_row > kMaxSkippedInARow) {
      return absl::AbortedError(absl::StrCat(what, ", like the ", kMaxSkippedInARow,
                                             " steps before it; lower schedule.peak"));
    }
    if (IsFirst()) console_->Line(absl::StrCat(what, "; this update is skipped"));
  } else {
    ++counters_.updates;
    ++counters_.stage_updates;
    counters_.skipped_in_a_row = 0;
    UpdateBalance(engine_.model.get(), result.expert_loads, stage.balance_rate);
  }
  ++counters_.step;

  StepMetrics metrics{.step = counters_.step,
                      .tokens = TokensBefore(plan_.stages, counters_.step),
                      .loss = result.loss,
                      .grad_norm = result.grad_norm,
                      .lr = lr,
                      .tokens_per_s = static_cast<double>(stage.batch_tokens) / seconds,
                      .step_ms = seconds * 1e3,
                      .peak_bytes = GetMemoryStats(engine_.model->device()).peak_bytes,
                      .checkpoint_stall_ms = std::exchange(checkpoint_stall_ms_, std::nullopt),
                      .checkpoint_s = std::exchange(checkpoint_s_, std::nullopt),
                      .skipped = !result.updated};
  AddExpertMetrics(result, stage, &metrics);
  if (result.logits.has_value()) {
    metrics.max_logit = result.logits->max_logit;
    metrics.clipped_heads = result.logits->clipped_heads;
  }
  if (peak_flops_ > 0) metrics.mfu = result.flops / seconds / peak_flops_;
  const bool last = counters_.step == plan_.total_steps();
  if (!validation_.empty() && (last || counters_.step % plan_.config.validation.every == 0)) {
    BeginPhase("validation");
    counters_.last_val_loss = metrics.val_loss = Validate();
  }
  if (waits_.has_value()) AddWaits(&metrics);
  RETURN_IF_ERROR(Log(metrics));
  // The first step also fills caches and pools, so it counts only until the second.
  const bool settled = counters_.step > first_step_ + 2;
  seconds_per_step_ = settled ? 0.9 * seconds_per_step_ + 0.1 * seconds : seconds;
  if (!IsFirst()) return absl::OkStatus();
  console_->Step(metrics,
                 seconds_per_step_ * static_cast<double>(plan_.total_steps() - counters_.step),
                 result.flops / seconds);
  return absl::OkStatus();
}

void TrainingRun::AddWaits(StepMetrics* metrics) {
  const WaitShares shares = waits_->Next();
  metrics->waiting = shares.most;
  metrics->waiting_slowest = shares.least;
  metrics->slowest_rank = shares.slowest;
  if (metrics->step % plan_.config.logging.every != 0 && metrics->step != plan_.total_steps())
    return;
  LogOfRank(absl::StrCat("step ", metrics->step, ": ", shares.ToString()));
}

absl::Status TrainingRun::Run() {
  const absl::Status status = Steps();
  LogOfRank(status.ok() ? absl::StrCat("ends after step ", counters_.step)
                        : absl::StrCat("fails: ", status.message()));
  SetCommActivity("after training");
  return status;
}

absl::Status TrainingRun::Steps() {
  if (finished() && saved_step_ == counters_.step) return absl::OkStatus();
  const StopSignal signal;
  RETURN_IF_ERROR(Start());
  // Resumed into another folder, which is to hold the run then.
  if (finished()) return Save(/*last=*/true);
  // Where it fails, so does each checkpoint, and says so.
  saver_->Reserve(Contents().parts).IgnoreError();
  if (world_->size() > 1) waits_.emplace(world_);
  while (!finished() && stop_signal_ == 0) RETURN_IF_ERROR(RunStage());
  console_.reset();
  return absl::OkStatus();
}

void TrainingRun::CheckOutput() {
  if (!IsFirst() || output_lost_) return;
  const absl::Status status = FlushOutput();
  if (status.ok()) return;
  output_lost_ = true;
  OutputLossIsTold();
  const std::string text = absl::StrCat(status.message(), "; training goes on, ", run_dir_,
                                        "/metrics.jsonl shows how far it is");
  std::fprintf(stderr, "wyvern: %s\n", text.c_str());
  LogOfRank(text);
}

void TrainingRun::EnterStage(const Stage& stage) {
  if (counters_.step == stage.first_step) counters_.stage_updates = 0;
  if (plan_.stages.size() == 1 || !IsFirst()) return;
  console_->Line(absl::StrFormat("stage %d of %d, %s: steps %d to %d, %d tokens in sequences of %d",
                                 stage.index + 1, plan_.stages.size(), stage.name,
                                 stage.first_step + 1, stage.end_step(), stage.batch_tokens,
                                 stage.seq_len));
}

absl::Status TrainingRun::RunStage() {
  const Stage& stage = StageOfStep(plan_.stages, counters_.step);
  EnterStage(stage);
  // Of each run of ranks x windows windows, this rank reads its own.
  const int64_t ranks = plan_.num_data_ranks();
  const int64_t index = engine_.mesh == nullptr ? 0 : engine_.mesh->data_index();
  const int64_t micro_batches = plan_.MicroBatchesOfRank(stage);
  const int64_t windows = stage.micro_batch;
  const Sampler* sampler = data_.stage_samplers[static_cast<size_t>(stage.index)].get();
  Prefetcher prefetcher([=](int64_t consumed) { return sampler->Sample(consumed, windows); },
                        stage.WindowAt(counters_.step) + index * windows, ranks * windows,
                        static_cast<int>(std::clamp<int64_t>(2 * micro_batches, 4, 64)));
  while (counters_.step < stage.end_step() && stop_signal_ == 0) {
    BeginStep(counters_.step + 1);
    BeginPhase("data");
    std::vector<Batch> batches;
    absl::Status status;
    for (int64_t i = 0; i < micro_batches && status.ok(); ++i) {
      absl::StatusOr<Batch> batch = prefetcher.Next();
      status = batch.status();
      if (status.ok()) batches.push_back(*std::move(batch));
    }
    status = Agreed(status);
    if (status.ok()) status = Agreed(OneStep(stage, batches));
    if (!status.ok()) {
      const absl::Status saved = Save(/*last=*/true);
      return saved.ok() ? status
                        : absl::Status(status.code(),
                                       absl::StrCat(status.message(),
                                                    "; saving failed too: ", saved.message()));
    }
    stop_signal_ = ReceivedSignal();
    const bool due =
        plan_.config.checkpoint.every > 0 && counters_.step % plan_.config.checkpoint.every == 0;
    const bool last = finished() || stop_signal_ != 0;
    PollSaver();
    if (due || last) RETURN_IF_ERROR(Save(last));
    if (stop_signal_ != 0 && !finished() && IsFirst()) {
      console_->Line(
          absl::StrFormat("stopped by %s after step %d of %d, saved; the same command "
                          "goes on from here",
                          SignalName(stop_signal_), counters_.step, plan_.total_steps()));
    }
    CheckOutput();
  }
  return absl::OkStatus();
}

}  // namespace wyvern
