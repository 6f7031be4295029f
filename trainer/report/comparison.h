// One page of several runs: their family, their key figures side by side, and their curves in one
// chart each.
#ifndef WYVERN_TRAINER_REPORT_COMPARISON_H_
#define WYVERN_TRAINER_REPORT_COMPARISON_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace wyvern {

struct ComparedRun {
  std::string name;  // its folder
  std::string metrics_jsonl;
};

// Curves are over tokens, which runs of other batches share; over steps where a run states none.
// Errors: a run without a step.
absl::StatusOr<std::string> RenderComparison(const std::vector<ComparedRun>& runs);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_COMPARISON_H_
