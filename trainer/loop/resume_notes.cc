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
      "%g. To decay once only, branch from a checkpoint before the decay instead: "
      "wyvern branch RUN@STEP NEW",
      step, last, end, first);
}

}  // namespace wyvern
