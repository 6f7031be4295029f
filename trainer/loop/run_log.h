#ifndef WYVERN_TRAINER_LOOP_RUN_LOG_H_
#define WYVERN_TRAINER_LOOP_RUN_LOG_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "trainer/report/console.h"
#include "trainer/report/metrics.h"
#include "trainer/report/tensorboard.h"
#include "trainer/run/run_plan.h"

namespace wyvern {

// The files that a run writes while it trains: config.yaml, metrics.jsonl and tensorboard/ in its
// folder, and the console. Until it is opened it writes nothing: only the first rank opens its log.
class RunLog {
 public:
  // Keeps the metrics of the steps up to first_step, from which the run starts. Errors: files that
  // cannot be written.
  absl::Status Open(const RunPlan& plan, int64_t first_step);

  absl::Status Append(const StepMetrics& metrics);
  // Shows a step on the console.
  void Show(const StepMetrics& metrics, double seconds_left, double flops_per_s);
  // A line on the console.
  void Line(const std::string& text);
  // Says once if standard output takes no more; the run continues.
  void CheckOutput();
  // Waits until the metrics are on disk. Any thread may call it.
  absl::Status Sync() { return metrics_->Sync(); }
  // Ends the console's live line.
  void Close() { console_.reset(); }

 private:
  std::string run_dir_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<TensorBoardWriter> events_;
  std::unique_ptr<Console> console_;
  bool output_lost_ = false;  // what the console prints does not arrive any more
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_RUN_LOG_H_
