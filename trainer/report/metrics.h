#ifndef WYVERN_TRAINER_REPORT_METRICS_H_
#define WYVERN_TRAINER_REPORT_METRICS_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/runtime/clock.h"
#include "trainer/report/log_file.h"

namespace wyvern {

// How a layer's experts share the tokens of a step (trainer/optimizer/expert_balance.h).
struct ExpertMetrics {
  int64_t layer = 0;    // numbered from 1
  double max_load = 0;  // over the mean load
  double entropy = 0;   // over that of equal loads
};

// A validation set (validation.sets).
struct SetMetrics {
  std::string name;
  double loss = 0;
  std::optional<double> bits_per_byte;
};

// A task of evaluation, with the metrics that it has.
struct TaskMetrics {
  struct Score {
    std::string metric;
    double value = 0;
    std::optional<double> standard_error;
  };
  std::string name;
  std::vector<Score> scores;
};

// A source of the training data.
struct SourceMetrics {
  std::string name;            // its folder
  std::optional<double> loss;  // of the step, if it holds tokens of the source
  double epochs = 0;           // that the run has read of it
};

// One line of metrics.jsonl. Step 0 is the model before training and has a validation loss alone.
struct StepMetrics {
  int64_t step = 0;
  int64_t tokens = 0;  // trained on so far
  std::optional<double> loss;
  std::optional<double> val_loss;  // when measured
  std::optional<double> val_bits_per_byte;
  std::optional<double> grad_norm;  // before clipping
  std::optional<double> lr;
  std::optional<double> max_logit;       // of all heads that QK-clip watches, before it
  std::optional<int64_t> clipped_heads;  // above its limit
  std::optional<double> tokens_per_s;
  std::optional<double> mfu;  // share of the GPU's peak in bf16; absent where the peak is unknown
  std::optional<double> step_ms;
  std::optional<int64_t> peak_bytes;
  // For a checkpoint that was begun, or was complete, since the line before: the stall of the step
  // loop, and the time from its beginning to its end.
  std::optional<double> checkpoint_stall_ms, checkpoint_s;
  // On several ranks, shares of the time since the step before (parallel/wait_share.h).
  std::optional<double> waiting;          // of the rank that waits most for others
  std::optional<double> waiting_slowest;  // of the slowest rank, which waits least
  std::optional<int64_t> slowest_rank;
  std::vector<ExpertMetrics> experts;  // of the layers with a mixture of experts
  std::optional<int64_t> dropped;      // choices of theirs that no expert served
  std::optional<double> balance_loss;  // where it has a weight
  nlohmann::json parent;  // on the first line of a run that began with another one's checkpoint
  std::string time;       // when the line was written, UtcTime
  std::optional<double> elapsed_s;     // of the run until then, without the breaks between resumes
  std::vector<SetMetrics> sets;        // when measured
  std::vector<TaskMetrics> tasks;      // when measured
  std::vector<SourceMetrics> sources;  // where they are told apart
  bool skipped = false;  // loss or gradient was not finite and the update was left out

  // A JSON object with the keys that are set. Doubles read back as the same numbers; what is not
  // finite is null.
  std::string ToJson() const;
  // The values for TensorBoard: "train/loss", "validation/loss", ...
  std::vector<std::pair<std::string, double>> Scalars() const;
};

// Appends to RUN/metrics.jsonl, one write per line.
class MetricsLog {
 public:
  // Keeps the lines of the steps up to last_step, as a run that resumes from there wrote them, and
  // drops all later ones; last_step < 0 drops everything. Lines that cannot be read are left out:
  // `warning` then says which, and where the file as it was is kept.
  static absl::StatusOr<std::unique_ptr<MetricsLog>> Open(const std::string& run_dir,
                                                          int64_t last_step, std::string* warning);

  // Adds the time. A full disk is an error in Sync alone, as of LogFile.
  absl::Status Append(StepMetrics metrics);
  // Waits until all lines are on disk. Any thread may call it.
  absl::Status Sync() { return file_.Sync(); }

 private:
  MetricsLog(std::string path, int fd, double elapsed)
      : file_(std::move(path), fd), start_(MonotonicSeconds() - elapsed) {}

  LogFile file_;
  const double start_;  // of the run, as if it had never stopped
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_METRICS_H_
