#ifndef WYVERN_TRAINER_LOOP_TRAIN_LOOP_H_
#define WYVERN_TRAINER_LOOP_TRAIN_LOOP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/sampling/prefetcher.h"
#include "trainer/checkpoint/read.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/evaluation/prepared_task.h"
#include "trainer/loop/batch_change.h"
#include "trainer/loop/run_log.h"
#include "trainer/loop/train_step.h"
#include "trainer/parallel/rank_log.h"
#include "trainer/parallel/step_agreement.h"
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
  // (the folder must hold no run), the path of a checkpoint or run folder, RUN@STEP, or a step of
  // the run folder, which must be its last. A folder whose run has branched off from that path is
  // resumed as with "auto". A run without a checkpoint of its own begins with run.branch_of or
  // train.init_from, if one is set. Errors: data that is missing or does not fit; a checkpoint of
  // another model, naming the first difference, or of other data; weights that do not fit; a run
  // folder in use. `world` outlives the run. `preflight`, if given, has compared the ranks; it then
  // measures the mesh and compares the data.
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
  // The checkpoint that the run began with (trainer/checkpoint/parent_record.h); null: none.
  const nlohmann::json& parent() const { return parent_; }

 private:
  TrainingRun(const RunPlan& plan, World* world);
  // The rank that writes.
  bool IsFirst() const { return world_->rank() == 0; }
  // One status for all ranks.
  absl::Status Agreed(const absl::Status& status) const { return Agree(world_->host(), status); }
  // Whether what happens every so many steps (0: never) happens after this one.
  bool IsDue(int64_t every) const { return every > 0 && counters_.step % every == 0; }

  // Before training (train_open.cc, train_resume.cc).
  absl::Status TakeFolder();
  // The checkpoint to resume from, on rank 0; empty: none.
  absl::StatusOr<std::string> Begin(const std::string& resume);
  absl::Status Prepare(Preflight* preflight);
  absl::Status PrepareData();
  absl::Status PrepareTasks();
  absl::StatusOr<std::string> ChooseCheckpoint(const std::string& resume);
  // The checkpoint that OpenCheckpoint found under a name. Says which later ones were passed over.
  std::string Newest(const std::string& given, const CheckpointInfo& found);
  absl::Status Resume(const std::string& checkpoint);
  absl::Status CheckInit() const;
  absl::Status Initialize();
  absl::Status LoadParent();
  // Reads the tensors of a checkpoint on all ranks. Of a run's newest, one that is damaged is
  // passed over for the one before, which is said.
  absl::StatusOr<CheckpointInfo> ReadWhole(const std::string& checkpoint);
  absl::StatusOr<CheckpointInfo> ReadTensors(const std::string& checkpoint);
  // On rank 0: the complete checkpoint of the run newest_of_ before this one; empty: none.
  std::string CheckpointBefore(const std::string& checkpoint) const;
  // Takes over the counters and the data of the checkpoint whose tensors were read.
  absl::Status Restore(const CheckpointInfo& checkpoint);
  // Takes over where the batches of a checkpoint changed, and changes them here if the
  // configuration does, of which it returns a note. `data`: the checkpoint's manifest of data.
  absl::StatusOr<std::string> ContinueData(const CheckpointInfo& checkpoint,
                                           const nlohmann::json& data);
  // An error where the folder's metrics go beyond its first checkpoints, and it has none.
  absl::Status CheckNothingIsLost() const;
  // Whether a checkpoint is one of the run folder's.
  bool IsOwn(const std::string& checkpoint) const;

  // All steps, to the end or until a signal, with checkpoints where they are due.
  absl::Status Train();
  // One step with validation, where it is due, and its line in the metrics.
  absl::Status Step();
  // Opens the log; validates a run that starts.
  absl::Status Start();
  // The stage of the next step, which is told where it is entered.
  const Stage& EnterStage();
  // This rank's micro batches of the step behind `step` others; none behind the last.
  absl::StatusOr<std::vector<Batch>> Fetch(int64_t step);
  // Fetches them and starts the exchange that tells of them and of all else that is new.
  void StartAgreement(int64_t next_step);
  // Updates the model and the counters. The status is the same on all ranks.
  absl::StatusOr<StepMetrics> Update(const Stage& stage, absl::Span<const Batch> batches);
  // Handles a step that was not finite: an error under the policy `stop`, or after many.
  absl::Status Skip(const StepResult& result, absl::Span<const Batch> batches);
  void Validate(StepMetrics* metrics);
  // Scores the tasks. One that fails, as the numbers of a run that diverges do, costs a line on the
  // console and leaves no metrics.
  void EvaluateTasks(StepMetrics* metrics);
  void AddSources(const StepResult& result, const Stage& stage, StepMetrics* metrics) const;
  absl::Status Log(const StepMetrics& metrics);
  void AddExpertMetrics(const StepResult& result, const Stage& stage, StepMetrics* metrics) const;
  void AddWaits(StepMetrics* metrics);
  // How often the ranks agreed in the steps so far: ", with 11 agreements beside ...".
  std::string AgreementsText() const;

  // Starts a checkpoint of this step, after waiting for the one that is still being written. With
  // `last` it waits for this one too, and only then a checkpoint that fails is an error.
  absl::Status Save(bool last);
  // Saves after a step that failed, and returns its status.
  absl::Status SaveAfter(const absl::Status& failure);
  // At the end of a step: takes note of a checkpoint that is complete, or failed.
  void AdvanceSaver();
  void Report(const SavedCheckpoint& saved);
  // Everything that the data of the steps so far depend on.
  nlohmann::json DataManifest() const;
  nlohmann::json SavedMeta() const;
  CheckpointContents Contents();

  RunPlan plan_;
  World* const world_;
  const std::string run_dir_;
  std::unique_ptr<RankLog> rank_log_;  // null on one rank
  std::optional<LockFile> lock_;
  RunData data_;
  std::vector<BatchChange> batch_changes_;
  std::vector<EvalBatch> validation_;
  std::optional<TokenBytes> token_bytes_;  // while there is something to validate
  std::vector<PreparedTask> tasks_;        // of the evaluation
  Engine engine_;
  RunLog log_;
  std::unique_ptr<CheckpointSaver> saver_;
  std::optional<StepAgreement> agreement_;  // while training
  std::unique_ptr<Prefetcher> prefetcher_;  // of the next step's stage; null before training
  absl::StatusOr<std::vector<Batch>> next_batches_;  // of the next step
  absl::Status logged_;  // whether the last step's line was written, until all ranks know it
  RunCounters counters_;
  int64_t first_step_ = 0, saved_step_ = -1;
  int stop_signal_ = 0;
  int64_t agreed_apart_ = 0;  // exchanges of control data in steps that no work hides
  std::string newest_of_;     // the run whose newest checkpoint is resumed; empty: a chosen one is
  nlohmann::json parent_, unlogged_parent_;        // the latter until a line of the metrics has it
  double peak_flops_ = 0;                          // of the GPU; 0: unknown
  double seconds_per_step_ = 0, flops_per_s_ = 0;  // the former smoothed
  // Times of the last checkpoint, for the next line of the metrics.
  std::optional<double> checkpoint_stall_ms_, checkpoint_s_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_TRAIN_LOOP_H_
