// How a training run saves, and when (trainer/loop/train_loop.h).
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/runtime/memory_text.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/chat_record.h"
#include "trainer/checkpoint/model.h"
#include "trainer/checkpoint/sharded_state.h"
#include "trainer/config/load.h"
#include "trainer/loop/train_loop.h"
#include "trainer/parallel/phase.h"

namespace wyvern {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

nlohmann::json ToJson(const std::optional<double>& value) {
  return value.has_value() ? nlohmann::json(*value) : nlohmann::json();
}

}  // namespace

nlohmann::json TrainingRun::SavedMeta() const {
  nlohmann::json meta = {{"config", ToYaml(plan_.config)},
                         {"config_hash", ConfigHash(plan_.config)},
                         {"data", DataManifest()},
                         {"training",
                          {{"step", counters_.step},
                           {"stage", StageOfStep(plan_.stages, counters_.step - 1).name},
                           {"updates", counters_.updates},
                           {"stage_updates", counters_.stage_updates},
                           {"skipped_in_a_row", counters_.skipped_in_a_row},
                           {"first_val_loss", ToJson(counters_.first_val_loss)},
                           {"last_val_loss", ToJson(counters_.last_val_loss)}}}};
  if (!parent_.is_null()) meta["parent"] = parent_;
  if (data_.chat.has_value()) meta["chat"] = ChatRecord(*data_.chat);
  if (data_.adds_bos) meta["add_bos"] = true;
  return meta;
}

CheckpointContents TrainingRun::Contents() {
  CheckpointContents contents{.step = counters_.step,
                              .parts = PartsToWrite(*engine_.optimizer, engine_.mesh.get()),
                              .meta = SavedMeta()};
  const TrainingState state{.model = engine_.model.get(), .tokenizer = data_.tokenizer.get()};
  // Equal on all ranks: the first one writes them.
  for (const NamedTensor& t : CommonTensors(state, &contents.meta)) {
    contents.parts.push_back(
        {{t.name, t.tensor.shape(), t.tensor.dtype()}, 0, IsFirst() ? t.tensor : Tensor()});
  }
  // The lines up to this step must be there when the checkpoint is.
  if (IsFirst()) contents.before_publishing = [this] { return log_.Sync(); };
  return contents;
}

absl::Status TrainingRun::Save(bool last) {
  BeginPhase("checkpoint");
  if (saver_->in_flight()) {
    const Clock::time_point begin = Clock::now();
    const std::optional<SavedCheckpoint> before = saver_->Wait();
    if (!last) {
      log_.Line(absl::StrFormat(
          "the checkpoint of step %d waited %.1f s for that of step %d to be complete",
          counters_.step, SecondsSince(begin), before->step));
    }
    Report(*before);
  }
  if (counters_.step == 0 || saved_step_ == counters_.step) return absl::OkStatus();
  const Clock::time_point begin = Clock::now();
  SavedCheckpoint saved{.step = counters_.step, .status = saver_->Start(Contents())};
  checkpoint_stall_ms_ = 1e3 * SecondsSince(begin);
  if (saved.status.ok()) {
    if (!last) return absl::OkStatus();
    saved = *saver_->Wait();
  }
  if (last && !saved.status.ok()) return saved.status;
  Report(saved);
  return absl::OkStatus();
}

absl::Status TrainingRun::SaveAfter(const absl::Status& failure) {
  const absl::Status saved = Save(/*last=*/true);
  if (saved.ok()) return failure;
  return absl::Status(
      failure.code(),
      absl::StrCat(failure.message(), "; saving failed too: ", absl::string_view(saved.message())));
}

void TrainingRun::AdvanceSaver() {
  const bool any_busy = world_->size() == 1 ? saver_->busy() : agreement_->news().saver_busy;
  if (const std::optional<SavedCheckpoint> saved = saver_->Advance(any_busy)) Report(*saved);
}

void TrainingRun::Report(const SavedCheckpoint& saved) {
  if (saved.status.ok()) {
    saved_step_ = saved.step;
    checkpoint_s_ = saved.seconds;
  }
  if (saved.status.ok()) {
    log_.Line(absl::StrFormat(
        "checkpoint of step %d: %s, training stalled for %.0f ms, complete after %.1f s",
        saved.step, MemoryText(static_cast<double>(saved.num_bytes)), saved.stall_ms,
        saved.seconds));
  } else {
    log_.Line(absl::StrCat("training continues without a checkpoint of step ", saved.step, ": ",
                           absl::string_view(saved.status.message())));
  }
}

}  // namespace wyvern
