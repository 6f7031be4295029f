// Which runs continue which: the parents that metrics name, and a drawing of the family.
#ifndef WYVERN_TRAINER_REPORT_FAMILY_H_
#define WYVERN_TRAINER_REPORT_FAMILY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

struct RunParent {
  std::string run;        // its folder, as the child's metrics name it, or that of its weights
  int64_t step = 0;       // at which the child leaves it
  bool continues = true;  // with all of its state, as a branch; else with its weights alone
};

// The parent that the lines of a metrics.jsonl name; of several the last.
std::optional<RunParent> ParentOf(absl::string_view metrics_jsonl);

struct FamilyMember {
  std::string name;
  std::string folder;  // by which its children name it
  std::optional<RunParent> parent;
  int64_t last_step = 0;
};

// The place of each member's parent in the list; nothing where it is not there.
std::vector<std::optional<size_t>> ParentsIn(const std::vector<FamilyMember>& members);

// A figure with a line for each run, from where it leaves its parent to its last step, in the
// colors of a chart's series in the members' order. A branch counts on its parent's steps, a run
// with its weights begins behind them. Empty if no member has its parent among the others.
std::string RenderFamily(const std::vector<FamilyMember>& members);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_FAMILY_H_
