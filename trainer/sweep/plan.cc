#include "trainer/sweep/plan.h"

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/checked_math.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "layers/model.h"
#include "trainer/config/fields.h"
#include "trainer/config/load.h"
#include "trainer/config/strict_reader.h"
#include "trainer/plan/flops.h"
#include "trainer/sweep/resolve.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxValues = 4'000'000;  // of all runs' configurations together

// Messages in the order in which they were first seen, with the runs that they are about.
class RunFaults {
 public:
  void Add(const std::string& message, const SweepRun& run, size_t index) {
    const auto [found, is_new] = runs_.emplace(message, About{run.name, index, 1});
    if (is_new) {
      order_.push_back(message);
    } else if (found->second.last != index) {
      found->second.last = index;
      ++found->second.count;
    }
  }
  bool empty() const { return order_.empty(); }
  void AppendTo(size_t num_runs, std::vector<std::string>* messages) const {
    for (const std::string& message : order_) {
      const About& runs = runs_.at(message);
      std::string about;
      if (runs.count < num_runs) {
        about = runs.count == 1 ? absl::StrCat(" (run ", runs.first, ")")
                                : absl::StrCat(" (", runs.count, " of ", num_runs, " runs, first ",
                                               runs.first, ")");
      }
      messages->push_back(message + about);
    }
  }

 private:
  struct About {
    std::string first;
    size_t last = 0, count = 0;
  };
  std::vector<std::string> order_;
  std::map<std::string, About> runs_;
};

// Everything that can be said of the file before its runs are formed.
void CheckNames(const SweepFile& file, std::vector<std::string>* faults) {
  const auto fault = [faults](const std::string& where, const auto&... parts) {
    faults->push_back(absl::StrCat(where, ": ", parts...));
  };
  std::set<std::string> used, used_tables;
  std::map<std::string, std::string> variables;  // to where they are first given
  const auto visit = [&](const SweepAssignment& assignment) {
    if (assignment.IsVariable()) variables.emplace(assignment.key, assignment.value.where);
    if (!assignment.expression.has_value()) return;
    used.insert(assignment.expression->names().begin(), assignment.expression->names().end());
    used_tables.insert(assignment.expression->tables().begin(),
                       assignment.expression->tables().end());
  };
  for (const SweepAssignment& assignment : file.set) visit(assignment);
  std::map<std::string, std::string> given_by;  // key to the axis that gives it
  for (const SweepAxis& axis : file.axes) {
    std::map<std::string, size_t> keys;
    for (const SweepPoint& point : axis.points) {
      for (const SweepAssignment& assignment : point.assignments) {
        visit(assignment);
        ++keys[assignment.key];
      }
    }
    for (const auto& [key, count] : keys) {
      const auto [other, is_new] = given_by.emplace(key, axis.where);
      if (!is_new) fault(axis.where, key, ": given by the axis of ", other->second, " too");
      for (const SweepAssignment& assignment : file.set) {
        if (assignment.key == key && count == axis.points.size()) {
          fault(assignment.value.where, "set.", key,
                ": has no effect, since every point of the axis of ", axis.where, " gives it");
        }
      }
    }
  }
  std::set<std::string> axes;
  for (const SweepAxis& axis : file.axes) {
    if (axis.name.empty()) continue;
    if (axis.name.find('.') != std::string::npos || !axes.insert(axis.name).second ||
        variables.count(axis.name) > 0) {
      fault(axis.where, "axes: the name '", axis.name,
            "' has a dot, or stands for something else already");
    }
  }
  const std::vector<std::string> in_names = TemplateNames(file.run_name);
  used.insert(in_names.begin(), in_names.end());
  used.insert(file.fit.family);
  // A reference to a variable may be among the parts that have errors.
  if (!file.faulty.empty()) return;
  for (const auto& [name, where] : variables) {
    if (used.count(name) == 0) {
      fault(where, name,
            ": a variable that nothing uses; a configuration key has a dot, as in "
            "schedule.peak");
    }
  }
  for (const auto& [name, table] : file.tables) {
    if (used_tables.count(name) == 0) {
      fault(table.where, "tables.", name, ": no expression uses it");
    }
  }
}

// Every combination of one point of each axis, the last axis running fastest.
std::vector<std::vector<const SweepPoint*>> Combinations(const std::vector<SweepAxis>& axes) {
  std::vector<std::vector<const SweepPoint*>> all = {{}};
  for (const SweepAxis& axis : axes) {
    std::vector<std::vector<const SweepPoint*>> longer;
    for (const auto& head : all) {
      for (const SweepPoint& point : axis.points) {
        longer.push_back(head);
        longer.back().push_back(&point);
      }
    }
    all = std::move(longer);
  }
  return all;
}

absl::StatusOr<std::string> RunName(const SweepFile& file,
                                    const std::vector<const SweepPoint*>& points,
                                    RunResolver* resolver) {
  if (file.run_name.empty()) {
    std::vector<std::string> labels;
    for (const SweepPoint* point : points) labels.push_back(point->label);
    return FolderName(absl::StrJoin(labels, "-"));
  }
  std::string name = file.run_name;
  for (const std::string& part : TemplateNames(file.run_name)) {
    const absl::StatusOr<SweepValue> value = resolver->Lookup(part);
    if (!value.ok() && FollowsFromAnother(value.status())) return value.status();
    if (!value.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.path, ": run_name: ", value.status().message()));
    }
    const std::string braces = absl::StrCat("{", part, "}");
    const size_t at = name.find(braces);
    if (at != std::string::npos) name.replace(at, braces.size(), ValueText(*value));
  }
  return FolderName(name);
}

struct Draft {
  SweepRun run;
  ConfigNode tree;
  bool uses_cuda = false;
  std::vector<const SweepAssignment*> failed;
};

Draft DraftRun(const SweepFile& file, const std::vector<const SweepPoint*>& points, size_t index,
               RunFaults* faults) {
  Draft draft;
  RunResolver resolver(file, points);
  std::vector<std::string> found;
  draft.tree = resolver.Resolve(&found);
  draft.uses_cuda = resolver.uses_cuda();
  draft.failed = resolver.Failed();
  const absl::StatusOr<std::string> name = RunName(file, points, &resolver);
  draft.run.name = name.value_or(absl::StrCat("number ", index + 1));
  if (!name.ok() && !FollowsFromAnother(name.status())) {
    found.push_back(std::string(name.status().message()));
  }
  draft.run.values = resolver.values();
  if (!file.fit.family.empty()) {
    const absl::StatusOr<SweepValue> family = resolver.Lookup(file.fit.family);
    if (family.ok()) {
      draft.run.values[file.fit.family] = *family;
    } else if (!FollowsFromAnother(family.status())) {
      found.push_back(absl::StrCat(file.path, ": fit.family: ", family.status().message()));
    }
  }
  for (const std::string& message : found) faults->Add(message, draft.run, index);
  const auto give = [&](const char* key, const std::string& value) {
    const ConfigNode node{ConfigNode::Kind::kScalar, file.path, value, true, {}, {}};
    (void)SetConfigNode(key, node, &draft.tree);  // a section is there or made
  };
  give("run.name", draft.run.name);
  give("run.dir", absl::StrCat(file.dir, "/", draft.run.name));
  return draft;
}

void CheckFolders(const SweepFile& file, const std::vector<Draft>& drafts,
                  std::vector<std::string>* messages) {
  std::map<std::string, int> count;
  for (const Draft& draft : drafts) ++count[draft.run.name];
  for (const auto& [name, runs] : count) {
    if (runs == 1) continue;
    messages->push_back(absl::StrCat(
        file.path, ": ", runs, " runs would share the folder '", file.dir, "/", name, "'; ",
        file.run_name.empty() ? "remove the repeated point, or give run_name: a template such as "
                                "\"{name of an axis}-{model.num_layers}\""
                              : "let run_name tell them apart"));
  }
  for (const FitSection::Exclusion& exclusion : file.fit.exclude) {
    if (count.count(exclusion.run) > 0) continue;
    std::vector<std::string> names;
    for (const auto& [name, runs] : count) names.push_back(name);
    const std::string nearest = Nearest(exclusion.run, names);
    messages->push_back(absl::StrCat(exclusion.where, ": fit.exclude: no run is named '",
                                     exclusion.run, "'", nearest.empty() ? "" : "; did you mean '",
                                     nearest, nearest.empty() ? "" : "'?"));
  }
}

// The keys that no configuration has, whatever else is wrong.
void FindUnknownKeys(const Draft& draft, size_t index, RunFaults* faults) {
  ConfigNode tree = draft.tree;
  for (const SweepAssignment* assignment : draft.failed) {
    if (!assignment->IsVariable()) {
      (void)SetConfigNode(assignment->key, assignment->value, &tree);
    }
  }
  std::vector<ConfigFault> found;
  RunConfig config;
  StrictReader reader(tree, "", &found);
  VisitRunConfig(reader, &config);
  reader.Finish();
  for (const ConfigFault& fault : found) {
    if (!absl::StartsWith(fault.message, "unknown key")) continue;
    faults->Add(absl::StrCat(fault.where, ": ", fault.key, ": ", fault.message), draft.run, index);
  }
}

void ReadRun(Draft* draft, size_t index, RunFaults* faults) {
  std::vector<std::string> found;
  draft->run.config =
      ReadRunConfigTree(draft->tree, draft->uses_cuda ? Device::kCuda : Device::kCpu, &found);
  for (const std::string& message : found) {
    const bool follows =
        std::any_of(draft->failed.begin(), draft->failed.end(),
                    [&](const SweepAssignment* a) { return absl::StrContains(message, a->key); });
    if (!follows) faults->Add(message, draft->run, index);
  }
  if (!found.empty() || !draft->failed.empty()) return;
  draft->run.stages = StagesOf(draft->run.config);
  draft->run.parameters = CountParameters(draft->run.config.model);
  draft->run.flops_per_token =
      FlopsPerToken(draft->run.config.model, draft->run.config.data.seq_len).training;
}

}  // namespace

absl::StatusOr<SweepPlan> LoadSweep(const std::string& path) {
  const Operation reading(absl::StrCat("reading the sweep ", path));
  SweepPlan plan;
  std::vector<std::string> messages;
  ASSIGN_OR_RETURN(plan.file, ReadSweepFile(path, &messages));
  const auto faults_so_far = [&] { return FaultsError(messages, "the sweep"); };
  const SweepFile& file = plan.file;
  if (file.base.map.empty()) return faults_so_far();
  ConfigNode overlay;
  (void)SplitOverlay(file.base, &overlay, &messages);
  CheckNames(file, &messages);
  int64_t num_runs = 1;
  for (const SweepAxis& axis : file.axes) {
    num_runs = SaturatedProduct(num_runs, static_cast<int64_t>(axis.points.size()));
  }
  if (num_runs > kMaxSweepRuns) {
    messages.push_back(absl::StrCat(path, ": axes: more than ", kMaxSweepRuns, " runs"));
    return faults_so_far();
  }
  const auto num_values = static_cast<int64_t>(FlattenConfig(file.base).size());
  if (SaturatedProduct(num_runs, num_values) > kMaxValues) {
    messages.push_back(absl::StrCat(path, ": axes: ", num_runs, " runs of a base of ", num_values,
                                    " values are more than ", kMaxValues,
                                    " values; split the sweep"));
    return faults_so_far();
  }
  const auto combinations = Combinations(file.axes);
  RunFaults faults;
  std::vector<Draft> drafts;
  for (size_t i = 0; i < combinations.size(); ++i) {
    drafts.push_back(DraftRun(file, combinations[i], i, &faults));
  }
  CheckFolders(file, drafts, &messages);
  const bool sound = messages.empty() && faults.empty();
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (sound) {
      ReadRun(&drafts[i], i, &faults);
    } else {
      FindUnknownKeys(drafts[i], i, &faults);
    }
  }
  faults.AppendTo(drafts.size(), &messages);
  if (!messages.empty()) return faults_so_far();
  plan.device_given = true;
  for (Draft& draft : drafts) {
    const ConfigNode* device = FindPath(draft.tree, "run.device");
    plan.device_given &= device != nullptr && device->scalar != "auto";
    plan.runs.push_back(std::move(draft.run));
  }
  return plan;
}

}  // namespace wyvern
