// report.html of a run: one self-contained page with the run's key figures and curves.
#ifndef WYVERN_TRAINER_REPORT_REPORT_H_
#define WYVERN_TRAINER_REPORT_REPORT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wyvern {

struct ReportInput {
  std::string title;  // the run's name
  // Rows of the key-figure table that metrics do not hold, in order: model, parameters, device ...
  std::vector<std::pair<std::string, std::string>> facts;
  std::string config;  // the resolved configuration as YAML; shown folded away
  std::string sample;  // generated text, or empty
  // The lines of metrics.jsonl of the runs that a branch continues, up to where it begins.
  std::string ancestors;
};

// Reads RUN/metrics.jsonl (one object a line: step, tokens, loss, val_loss, grad_norm, lr,
// tokens_per_s, mfu, step_ms, peak_bytes, skipped; every key but step may be missing or null) and
// writes the page to `output`. Of lines with the same step the last one counts; lines that cannot
// be read are left out and counted. Where a line names the checkpoint of which the run is a branch,
// and that run's metrics are still there, they become `ancestors`. Errors: no metrics file, no step
// in it, a failed write.
absl::Status WriteReport(const std::string& run_dir, const ReportInput& input,
                         const std::string& output);

// The page for the text of a metrics file.
absl::StatusOr<std::string> RenderReport(const std::string& metrics_jsonl,
                                         const ReportInput& input);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_REPORT_H_
