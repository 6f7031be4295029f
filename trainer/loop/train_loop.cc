#include "trainer/loop/train_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/status.h"
#include "trainer/inference/eval.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/parallel/phase.h"
#include "trainer/run/stop_signal.h"

namespace wyvern {
namespace {

// A run whose every step is skipped learns nothing and would continue so.
constexpr int64_t kMaxSkippedInARow = 50;

}  // namespace

absl::Status TrainingRun::Run() {
  const absl::Status status = Train();
  LogOfRank(status.ok() ? absl::StrCat("ends after step ", counters_.step, AgreementsText())
                        : absl::StrCat("fails: ", status.message()));
  SetCommActivity("after training");
  return status;
}

std::string TrainingRun::AgreementsText() const {
  if (!agreement_.has_value()) return "";
  return absl::StrCat(", with ", agreement_->num_exchanges(), " agreements beside its steps and ",
                      agreed_apart_, " apart from them");
}

absl::Status TrainingRun::Train() {
  if (finished() && saved_step_ == counters_.step) return absl::OkStatus();
  const StopSignal signal;
  RETURN_IF_ERROR(Start());
  // Resumed into another folder, which is to hold the run then.
  if (finished()) return Save(/*last=*/true);
  // Where it fails, so does each checkpoint, and says so.
  saver_->Reserve(Contents().parts).IgnoreError();
  agreement_.emplace(world_, plan_.mesh.context);
  if (engine_.parallel != nullptr) {
    engine_.parallel->BetweenUnits([this] { agreement_->Progress(); });
  }
  BeginStep(counters_.step + 1);
  StartAgreement(counters_.step);
  agreement_->Finish();
  while (!finished() && stop_signal_ == 0) {
    const int64_t calls = world_->host().num_host_calls();
    absl::Status status = Step();
    if (!status.ok()) return SaveAfter(status);
    agreed_apart_ += world_->host().num_host_calls() - calls;
    const bool alone = world_->size() == 1;
    stop_signal_ = alone ? StopSignal::Received() : agreement_->news().stop_signal;
    const bool last = finished() || stop_signal_ != 0;
    const bool saves = last || IsDue(plan_.config.checkpoint.every);
    // Between checkpoints the other ranks learn in the next step that a line was not written.
    if (alone || saves) status = Agreed(std::exchange(logged_, absl::OkStatus()));
    if (!status.ok()) return SaveAfter(status);
    AdvanceSaver();
    if (saves) RETURN_IF_ERROR(Save(last));
    if (stop_signal_ != 0 && !finished()) {
      log_.Line(
          absl::StrFormat("stopped by %s after step %d of %d, saved; the same command "
                          "resumes it",
                          SignalName(stop_signal_), counters_.step, plan_.total_steps()));
    }
    log_.CheckOutput();
  }
  prefetcher_.reset();
  log_.Close();
  if (finished() && counters_.updates == 0) {
    return absl::AbortedError(absl::StrCat("all ", counters_.step,
                                           " updates were skipped, so nothing was learnt; lower "
                                           "schedule.peak, or look at the data"));
  }
  return absl::OkStatus();
}

absl::Status TrainingRun::Step() {
  const Stage& stage = EnterStage();
  BeginStep(counters_.step + 1);
  BeginPhase("data");
  if (agreement_->news().data_failed) return Agreed(next_batches_.status());
  const std::vector<Batch> batches = *std::move(next_batches_);
  StartAgreement(counters_.step + 1);
  absl::StatusOr<StepMetrics> metrics = Update(stage, batches);
  if (!metrics.ok()) return Agreed(metrics.status());
  const bool last = counters_.step == plan_.total_steps();
  if (!validation_.empty() && (last || IsDue(plan_.config.validation.every))) {
    BeginPhase("validation");
    Validate(&*metrics);
  }
  if (!tasks_.empty() && (last || IsDue(plan_.config.evaluation.every))) {
    BeginPhase("evaluation");
    EvaluateTasks(&*metrics);
  }
  if (world_->size() > 1) AddWaits(&*metrics);
  logged_ = Log(*metrics);
  return absl::OkStatus();
}

absl::Status TrainingRun::Start() {
  RETURN_IF_ERROR(Agreed(IsFirst() ? log_.Open(plan_, first_step_) : absl::OkStatus()));
  if (first_step_ > 0 || validation_.empty()) return absl::OkStatus();
  SetCommActivity("validation before training");
  StepMetrics metrics{.step = 0, .parent = std::exchange(unlogged_parent_, nullptr)};
  Validate(&metrics);
  counters_.first_val_loss = metrics.val_loss;
  if (metrics.val_loss.has_value() && !std::isfinite(*metrics.val_loss)) {
    return absl::FailedPreconditionError(
        "the validation loss before training is not a finite number, so nothing can be learnt; "
        "look at model.initializer_range and train.init_from");
  }
  const std::string losses = ValidationText(metrics);
  log_.Line(
      absl::StrCat("validation loss before training:", absl::StripPrefix(losses, "validation")));
  return Agreed(log_.Append(metrics));
}

const Stage& TrainingRun::EnterStage() {
  const Stage& stage = StageOfStep(plan_.stages, counters_.step);
  const bool begins = counters_.step == stage.first_step;
  if (counters_.step != first_step_ && !begins) return stage;
  if (begins) counters_.stage_updates = 0;
  if (plan_.stages.size() > 1) {
    log_.Line(absl::StrFormat("stage %d of %d, %s: steps %d to %d, %d tokens in sequences of %d",
                              stage.index + 1, plan_.stages.size(), stage.name,
                              stage.first_step + 1, stage.end_step(), stage.batch_tokens,
                              stage.seq_len));
    if (stage.index > 0 && stage.BeginsMixture()) {
      log_.Line(absl::StrCat("  its mixture: ", DescribeMixture(data_, stage)));
    }
  }
  return stage;
}

absl::StatusOr<std::vector<Batch>> TrainingRun::Fetch(int64_t step) {
  std::vector<Batch> batches;
  if (step >= plan_.total_steps()) return batches;
  const Stage& stage = StageOfStep(plan_.stages, step);
  const int64_t micro_batches = plan_.MicroBatchesOfRank(stage);
  if (prefetcher_ == nullptr || step == stage.first_step) {
    const int64_t ranks = plan_.num_data_ranks();
    const int64_t index = engine_.mesh == nullptr ? 0 : engine_.mesh->data_index();
    const Sampler* sampler = data_.stages[static_cast<size_t>(stage.index)].sampler.get();
    prefetcher_ = std::make_unique<Prefetcher>(
        [this, &stage, sampler](int64_t number) {
          const RunPlan::Samples samples = plan_.SamplesOfMicroBatch(stage, number);
          return sampler->Sample(samples.first, samples.count);
        },
        (step - stage.batches_first_step) * micro_batches * ranks + index, ranks,
        static_cast<int>(std::clamp<int64_t>(2 * micro_batches, 4, 64)));
  }
  for (int64_t i = 0; i < micro_batches; ++i) {
    ASSIGN_OR_RETURN(Batch batch, prefetcher_->Next());
    batches.push_back(std::move(batch));
  }
  return batches;
}

void TrainingRun::StartAgreement(int64_t next_step) {
  next_batches_ = Fetch(next_step);
  StepNews news{.data_failed = !next_batches_.ok(),
                .log_failed = !logged_.ok(),
                .stop_signal = StopSignal::Received(),
                .saver_busy = saver_->busy()};
  if (next_batches_.ok()) {
    for (const Batch& batch : *next_batches_) news.next_targets += batch.num_targets();
  }
  agreement_->Start(news);
}

absl::StatusOr<StepMetrics> TrainingRun::Update(const Stage& stage,
                                                absl::Span<const Batch> batches) {
  const double begin = MonotonicSeconds();
  const double lr = Schedule(stage).RateAt(counters_.stage_updates);
  const StepResult result =
      TrainStep(engine_.model.get(), engine_.optimizer.get(), batches, lr,
                plan_.config.train.grad_clip, counters_.updates + 1, engine_.parallel.get(),
                plan_.config.logging.by_source ? data_.stores.size() : 0, &*agreement_);
  if (result.abandoned) {
    // Rank 0, which writes the lines, knows why.
    return logged_.ok() ? absl::AbortedError("rank 0 cannot write its log") : logged_;
  }
  const double seconds = MonotonicSeconds() - begin;
  if (result.updated) {
    ++counters_.updates;
    ++counters_.stage_updates;
    counters_.skipped_in_a_row = 0;
    UpdateBalance(engine_.model.get(), result.expert_loads, stage.balance_rate);
  } else {
    RETURN_IF_ERROR(Skip(result, batches));
  }
  ++counters_.step;
  // The first step also fills caches and pools, so it counts only until the second.
  const bool settled = counters_.step > first_step_ + 2;
  seconds_per_step_ = settled ? 0.9 * seconds_per_step_ + 0.1 * seconds : seconds;
  flops_per_s_ = result.flops / seconds;
  StepMetrics metrics{.step = counters_.step,
                      .tokens = TokensBefore(plan_.stages, counters_.step),
                      .loss = result.loss,
                      .grad_norm = result.grad_norm,
                      .lr = lr,
                      .tokens_per_s = static_cast<double>(stage.batch_tokens) / seconds,
                      .step_ms = seconds * 1e3,
                      .peak_bytes = GetMemoryStats(plan_.device).peak_bytes,
                      .checkpoint_stall_ms = std::exchange(checkpoint_stall_ms_, std::nullopt),
                      .checkpoint_s = std::exchange(checkpoint_s_, std::nullopt),
                      .parent = std::exchange(unlogged_parent_, nullptr),
                      .skipped = !result.updated};
  AddExpertMetrics(result, stage, &metrics);
  AddSources(result, stage, &metrics);
  if (result.logits.has_value()) {
    metrics.max_logit = result.logits->max_logit;
    metrics.clipped_heads = result.logits->clipped_heads;
  }
  if (peak_flops_ > 0) metrics.mfu = result.flops / seconds / peak_flops_;
  return metrics;
}

absl::Status TrainingRun::Skip(const StepResult& result, absl::Span<const Batch> batches) {
  const std::string what =
      absl::StrCat("step ", counters_.step + 1, ": ",
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
  log_.Line(absl::StrCat(what, "; this update is skipped"));
  return absl::OkStatus();
}

void TrainingRun::Validate(StepMetrics* metrics) {
  const std::vector<ValidationSet>& sets = plan_.config.validation.sets;
  const std::vector<EvalResult> results = Evaluate(
      engine_.model.get(), validation_, 1 + sets.size(), *token_bytes_, engine_.parallel.get());
  if (results[0].num_targets > 0) {
    counters_.last_val_loss = metrics->val_loss = results[0].loss;
    metrics->val_bits_per_byte = results[0].BitsPerByte();
  }
  for (size_t i = 0; i < sets.size(); ++i) {
    metrics->sets.push_back({sets[i].name, results[i + 1].loss, results[i + 1].BitsPerByte()});
  }
}

void TrainingRun::AddSources(const StepResult& result, const Stage& stage,
                             StepMetrics* metrics) const {
  if (!plan_.config.logging.by_source) return;
  const std::vector<RunSource> sources = SourcesOf(plan_.config);
  const std::vector<double> epochs = EpochsOf(data_, stage, counters_.step);
  for (size_t i = 0; i < sources.size(); ++i) {
    SourceMetrics source{.name = sources[i].source.dir, .epochs = epochs[i]};
    const SourceLoss& loss = result.by_source[i];
    if (loss.num_targets > 0) source.loss = loss.sum / static_cast<double>(loss.num_targets);
    metrics->sources.push_back(std::move(source));
  }
}

absl::Status TrainingRun::Log(const StepMetrics& metrics) {
  RETURN_IF_ERROR(log_.Append(metrics));
  const int64_t steps_left = plan_.total_steps() - counters_.step;
  log_.Show(metrics, seconds_per_step_ * static_cast<double>(steps_left), flops_per_s_);
  return absl::OkStatus();
}

void TrainingRun::AddExpertMetrics(const StepResult& result, const Stage& stage,
                                   StepMetrics* metrics) const {
  const std::vector<ExpertLoad>& loads = result.expert_loads;
  if (loads.empty()) return;
  const ModelConfig& model = plan_.config.model;
  metrics->dropped =
      stage.batch_tokens * model.moe->experts_per_token * static_cast<int64_t>(loads.size());
  for (int64_t i = 0; i < model.num_layers; ++i) {
    if (!model.IsMoe(i)) continue;
    const ExpertLoad& load = loads[metrics->experts.size()];
    metrics->experts.push_back(
        {.layer = i + 1, .max_load = load.MaxOverMean(), .entropy = load.Entropy()});
    for (const int64_t n : load.rows) *metrics->dropped -= n;
  }
  if (plan_.config.train.balance_loss > 0) metrics->balance_loss = result.balance_loss;
}

void TrainingRun::AddWaits(StepMetrics* metrics) {
  const WaitShares& shares = agreement_->news().waits;
  metrics->waiting = shares.most;
  metrics->waiting_slowest = shares.least;
  metrics->slowest_rank = shares.slowest;
  if (!IsDue(plan_.config.logging.every) && !finished()) return;
  LogOfRank(absl::StrCat("step ", metrics->step, ": ", shares.ToString()));
}

}  // namespace wyvern
