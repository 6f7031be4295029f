// The output of `wyvern fit`.
#ifndef WYVERN_TRAINER_SCALING_FIT_OUTPUT_H_
#define WYVERN_TRAINER_SCALING_FIT_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "trainer/scaling/analysis.h"

namespace wyvern {

// The points, the laws with their intervals, the compute ratios, and what was left out and why.
std::string FitTable(const ScalingAnalysis& analysis);
// The same as JSON; numbers read back as they are.
std::string FitJson(const ScalingAnalysis& analysis);
// One self-contained page: loss over compute, parameters and tokens on logarithmic axes with
// points, fits and the fits' 95% intervals, and the tables.
std::string FitPage(const ScalingAnalysis& analysis);

// Writes FOLDER/fit.json and FOLDER/report.html.
absl::Status WriteFit(const std::string& folder, const ScalingAnalysis& analysis);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCALING_FIT_OUTPUT_H_
