#include "trainer/loop/resume_notes.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "trainer/config/stages.h"
#include "trainer/optimizer/schedule.h"

namespace wyvern {

std::string ExtensionNote(const RunConfig& before, const RunConfig& now, int64_t step,
                          int64_t stage_updates) {
  const std::vector<Stage> old_stages = StagesOf(before), new_stages = StagesOf(now);
  const int64_t end = new_stages.back().end_step();
  if (step < old_stages.back().end_step() || end <= step) return "";
  const Stage& next = StageOfStep(new_stages, step);
  const double last = Schedule(old_stages.back()).RateAt(std::max<int64_t>(stage_updates - 1, 0));
  const double first = Schedule(next).RateAt(step == next.first_step ? 0 : stage_updates);
  return absl::StrFormat(
      "the run was at its end, step %d, with a learning rate of %g; it goes on to step %d with "
      "%g. To decay once only, branch from a checkpoint before the decay instead: --resume it, "
      "with another run.dir",
      step, last, end, first);
}

std::string NewStageAdvice(nlohmann::json now, nlohmann::json then, int64_t step) {
  if (!now.is_object() || !then.is_object()) return "";
  for (const char* key : {"seq_len", "batch_windows", "document_boundary"}) {
    now.erase(key);
    then.erase(key);
  }
  if (now != then) return "";
  return absl::StrFormat(
      "to change batch or sequence length from here on, give the run `stages`: one of %d steps "
      "with the former values, then one with the new ones",
      step);
}

}  // namespace wyvern
