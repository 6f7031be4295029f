#ifndef WYVERN_TRAINER_LOOP_TRAIN_LOOP_H_
#define WYVERN_TRAINER_LOOP_TRAIN_LOOP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/loop/train_step.h"
#include "trainer/parallel/rank_log.h"
#include "trainer/parallel/wait_share.h"
#include "trainer/report/console.h"
#include "trainer/report/metrics.h"
#include "trainer/report/tensorboard.h"
#include "trainer/run/engine.h"
#include "trainer/run/preflight.h"
#include "trainer/run/run_data.h"
#include "trainer/run/run_lock.h"
#include "trainer/run/run_plan.h"

namespace wyvern {

// All of a run's state besides the tensors. Batches and rates are functions of it.
struct RunCounters {
  int64_t step = 0;           // batches consumed
  int64_t updates = 0;        // of the optimizer: steps that were not skipped
  int64_t stage_updates = 0;  // of them, in the stage of the last step
  int64_t skipped_in_a_row = 0;
  std::optional<double> first_val_loss;  // of the model before training
  std::optional<double> last_val_loss;
};

// One run: Open makes or resumes it, Run trains to the end or until a signal.
//
// The run folder holds config.yaml (resolved), metrics.jsonl, tensorboard/, checkpoints/ and, at
// the end, report.html; of several ranks also logs/ (parallel/rank_log.h). On several ranks every
// rank makes the same calls and gets the same statuses; rank 0 alone writes to the console and, but
// for the others' logs and the checkpoints, which all ranks write (trainer/checkpoint/saver.h),
// into the folder.
class TrainingRun {
 public:
  // `resume`: "auto" (the newest complete checkpoint of the run folder, if there is one), "none"
  // (the folder must hold no run) or the path of a checkpoint or run folder. Errors: data that is
  // missing or does not fit; a checkpoint of another model, naming the first difference, or of
  // other data; a run folder in use.
  // `world` outlives the run. `preflight`, if given, has compared the ranks; it then measures the
  // mesh and compares the data.
  static absl::StatusOr<std::unique_ptr<TrainingRun>> Open(const RunPlan& plan,
                                                           const std::string& resume, World* world,
                                                           Preflight* preflight = nullptr);

  // Errors: data that cannot be read, a last checkpoint that cannot be written, a step that is not
  // finite under the policy `stop`. Whatever was learned until then is saved first where that is
  // possible.
  absl::Status Run();

  bool finished() const { return counters_.step >= plan_.total_steps(); }
  // The signal, of any rank, that stopped Run before the end; 0: none.
  int stop_signal() const { return stop_signal_; }
  const RunCounters& counters() const { return counters_; }
  int64_t first_step() const { return first_step_; }  // where this process began
  Model* model() { return engine_.model.get(); }
  const RunData& data() const { return data_; }
  const RunPlan& plan() const { return plan_; }

 private:
  TrainingRun(const RunPlan& plan, World* world);
  // The rank that writes.
  bool IsFirst() const { return world_->rank() == 0; }
  // One status for all ranks.
  absl::Status Agreed(const absl::Status& status) const { return Agree(world_->host(), status); }
  absl::Status TakeFolder();
  absl::Status Prepare(Preflight* preflight);
  absl::Status PrepareData();
  absl::StatusOr<std::string> ChooseCheckpoint(const std::string& resume) const;
  absl::Status Resume(const std::string& resume);
  absl::Status Restore(const std::string& checkpoint);
  absl::Status CheckIsNewest(const std::string& resume) const;
  absl::Status Start();
  absl::Status OpenLogs();
  int ReceivedSignal() const;  // by any rank
  // Says so once when standard output does not take any more, and goes on.
  void CheckOutput();
  void AddExpertMetrics(const StepResult& result, const Stage& stage, StepMetrics* metrics) const;
  // To the end of the stage of the next step, or until a signal.
  absl::Status RunStage();
  void EnterStage(const Stage& stage);
  absl::Status OneStep(const Stage& stage, absl::Span<const Batch> batches);
  absl::Status Steps();
  void AddWaits(StepMetrics* metrics);
  absl::Status Log(const StepMetrics& metrics);
  // Starts a checkpoint of this step, after waiting for the one that is still being written. With
  // `last` it waits for this one too, and only then a checkpoint that fails is an error.
  absl::Status Save(bool last);
  // At the end of a step: takes note of a checkpoint that is complete, or failed.
  void PollSaver();
  void Report(const SavedCheckpoint& saved);
  std::optional<double> Validate();
  // What the data of the steps so far depend on.
  nlohmann::json DataManifest() const;
  nlohmann::json SavedMeta() const;
  CheckpointContents Contents();

  const RunPlan plan_;
  World* const world_;
  const std::string run_dir_;
  std::unique_ptr<RankLog> rank_log_;  // null on one rank
  std::optional<LockFile> lock_;
  RunData data_;
  std::vector<Batch> validation_;
  Engine engine_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<TensorBoardWriter> events_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<CheckpointSaver> saver_;
  std::optional<WaitMeter> waits_;  // while several ranks train
  RunCounters counters_;
  int64_t first_step_ = 0, saved_step_ = -1;
  int stop_signal_ = 0;
  bool output_lost_ = false;     // what the console prints does not arrive any more
  double peak_flops_ = 0;        // of the GPU; 0: unknown
  double seconds_per_step_ = 0;  // smoothed
  // Of checkpoints, for the next line of the metrics.
  std::optional<double> checkpoint_stall_ms_, checkpoint_s_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_TRAIN_LOOP_H_
