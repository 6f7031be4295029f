#include "trainer/loop/run_log.h"

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/config/load.h"
#include "trainer/parallel/rank_log.h"
#include "trainer/report/standard_output.h"

namespace wyvern {

absl::Status RunLog::Open(const RunPlan& plan, int64_t first_step) {
  run_dir_ = plan.config.RunDir();
  RETURN_IF_ERROR(WriteFileAtomically(run_dir_ + "/config.yaml", ToYaml(plan.config)));
  std::string warning;
  ASSIGN_OR_RETURN(metrics_,
                   MetricsLog::Open(run_dir_, first_step > 0 ? first_step : -1, &warning));
  if (!warning.empty()) SayError(absl::StrCat("warning: ", warning));
  ASSIGN_OR_RETURN(events_, TensorBoardWriter::Create(run_dir_ + "/tensorboard", first_step + 1));
  console_ = std::make_unique<Console>(plan.total_steps(), plan.config.logging.every);
  return absl::OkStatus();
}

absl::Status RunLog::Append(const StepMetrics& metrics) {
  if (metrics_ == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(metrics_->Append(metrics));
  return events_->AddScalars(metrics.step, metrics.Scalars());
}

void RunLog::Show(const StepMetrics& metrics, double seconds_left, double flops_per_s) {
  if (console_ != nullptr) console_->Step(metrics, seconds_left, flops_per_s);
}

void RunLog::Line(const std::string& text) {
  if (console_ != nullptr) console_->Line(text);
}

void RunLog::CheckOutput() {
  if (console_ == nullptr || output_lost_) return;
  const absl::Status status = FlushOutput();
  if (status.ok()) return;
  output_lost_ = true;
  OutputLossIsTold();
  const std::string text = absl::StrCat(status.message(), "; training continues, ", run_dir_,
                                        "/metrics.jsonl shows how far it is");
  SayError(absl::StrCat("wyvern: ", text));
  LogOfRank(text);
}

}  // namespace wyvern
