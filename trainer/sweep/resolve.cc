#include "trainer/sweep/resolve.h"

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/status.h"
#include "layers/model.h"
#include "trainer/config/fields.h"
#include "trainer/config/load.h"
#include "trainer/config/strict_reader.h"
#include "trainer/config/yaml_writer.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

constexpr size_t kMaxChain = 1000;  // of values of which each follows from the next

const std::vector<std::string>& ModelFigures() {
  static const auto* const kNames = new std::vector<std::string>{"parameters", "flops_per_token"};
  return *kNames;
}

// The tree with defaults included; errors are reported when the whole run is read.
ConfigNode WithDefaults(const ConfigNode& tree) {
  std::vector<std::string> ignored;
  RunConfig config = ReadRunConfigTree(tree, std::nullopt, &ignored);
  return ParseConfigText(ToYaml(config), "").value_or(ConfigNode());
}

}  // namespace

absl::Status FollowsFromAnother() { return absl::CancelledError(); }
bool FollowsFromAnother(const absl::Status& status) { return absl::IsCancelled(status); }

RunResolver::RunResolver(const SweepFile& file, const std::vector<const SweepPoint*>& points)
    : file_(file) {
  std::vector<const SweepAssignment*> all;
  for (const SweepAssignment& assignment : file.set) {
    // A point's value stands for the one of every run.
    const bool replaced = std::any_of(points.begin(), points.end(), [&](const SweepPoint* point) {
      return std::any_of(point->assignments.begin(), point->assignments.end(),
                         [&](const SweepAssignment& a) { return a.key == assignment.key; });
    });
    if (!replaced) all.push_back(&assignment);
  }
  for (size_t i = 0; i < points.size(); ++i) {
    if (!file.axes[i].name.empty()) values_[file.axes[i].name] = points[i]->label;
    for (const SweepAssignment& assignment : points[i]->assignments) all.push_back(&assignment);
  }

  ConfigNode overlay;
  std::vector<std::string> messages;
  tree_ = SplitOverlay(file.base, &overlay, &messages);
  const auto device_in = [](const ConfigNode& tree) {
    const ConfigNode* device = FindPath(tree, "run.device");
    return device == nullptr ? std::string("auto") : device->scalar;
  };
  std::string device = device_in(tree_);
  for (const SweepAssignment* assignment : all) {
    if (assignment->key == "run.device") device = assignment->value.scalar;
  }
  uses_cuda_ = device == "cuda" || (device == "auto" && CudaAvailable());
  if (uses_cuda_ && overlay.kind == ConfigNode::Kind::kMap) {
    const ConfigNode below = tree_;
    MergeConfig(overlay, &tree_);
    DropIdleKeys(below, &tree_);
  }
  base_ = tree_;

  for (const SweepAssignment* assignment : all) {
    if (assignment->expression.has_value()) {
      pending_[assignment->key] = {assignment};
    } else {
      Give(*assignment, assignment->value);
    }
  }
}

void RunResolver::Give(const SweepAssignment& assignment, ConfigNode value) {
  if (value.kind == ConfigNode::Kind::kScalar) {
    values_[assignment.key] = value.quoted ? SweepValue(value.scalar) : ValueOfText(value.scalar);
  }
  if (assignment.IsVariable()) return;
  // A key into a list that is not there: the reader reports what the run lacks then.
  if (const absl::Status status = SetConfigNode(assignment.key, value, &tree_); !status.ok()) {
    if (faults_ != nullptr) faults_->push_back(std::string(status.message()));
  }
}

ConfigNode RunResolver::Resolve(std::vector<std::string>* faults) {
  faults_ = faults;
  for (auto& [key, pending] : pending_) (void)Settle(&pending);
  faults_ = nullptr;
  DropRivals(base_, &tree_);
  DropIdleKeys(base_, &tree_);
  return tree_;
}

std::vector<const SweepAssignment*> RunResolver::Failed() const {
  std::vector<const SweepAssignment*> failed;
  for (const auto& [key, pending] : pending_) {
    if (pending.state != Pending::kDone) failed.push_back(pending.assignment);
  }
  return failed;
}

absl::Status RunResolver::Settle(Pending* pending) {
  const SweepAssignment& assignment = *pending->assignment;
  if (pending->state == Pending::kDone) return absl::OkStatus();
  if (pending->state == Pending::kFailed) return FollowsFromAnother();
  if (pending->state == Pending::kBusy) {
    const auto first = std::find(busy_.begin(), busy_.end(), assignment.key);
    // The same circle has one message, wherever it is entered.
    std::vector<std::string> circle(first, busy_.end());
    std::rotate(circle.begin(), std::min_element(circle.begin(), circle.end()), circle.end());
    circle.push_back(circle.front());
    const SweepAssignment& named = *pending_.at(circle.front()).assignment;
    if (faults_ != nullptr) {
      faults_->push_back(
          absl::StrCat(named.value.where, ": ", named.key,
                       ": its value depends on itself: ", absl::StrJoin(circle, " -> ")));
    }
    return FollowsFromAnother();
  }
  if (busy_.size() == kMaxChain) {
    if (faults_ != nullptr) {
      faults_->push_back(absl::StrCat(assignment.value.where, ": ", assignment.key,
                                      ": a chain of more than ", kMaxChain,
                                      " values that follow from one another"));
    }
    pending->state = Pending::kFailed;
    return FollowsFromAnother();
  }
  pending->state = Pending::kBusy;
  busy_.push_back(assignment.key);
  // Its inputs come first: a long chain is then no deep recursion through expressions.
  for (const std::string& name : assignment.expression->names()) {
    if (const auto found = pending_.find(name); found != pending_.end()) {
      (void)Settle(&found->second);
    }
  }
  const ExpressionScope scope{.name = [this](const std::string& name) { return Lookup(name); },
                              .entry = [this](const std::string& table,
                                              const SweepValue& key) { return Entry(table, key); }};
  const absl::StatusOr<SweepValue> value = assignment.expression->Evaluate(scope);
  busy_.pop_back();
  if (!value.ok()) {
    pending->state = Pending::kFailed;
    if (!FollowsFromAnother(value.status()) && faults_ != nullptr) {
      faults_->push_back(absl::StrCat(assignment.value.where, ": ", assignment.key, ": ",
                                      value.status().message()));
    }
    return FollowsFromAnother();
  }
  pending->state = Pending::kDone;
  ConfigNode node = assignment.value;
  node.scalar = ValueText(*value);
  node.quoted = false;
  Give(assignment, std::move(node));
  return absl::OkStatus();
}

absl::StatusOr<SweepValue> RunResolver::Lookup(const std::string& name) {
  if (const auto found = pending_.find(name); found != pending_.end()) {
    RETURN_IF_ERROR(Settle(&found->second));
  }
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  if (file_.faulty.count(name) > 0) return FollowsFromAnother();
  const auto& figures = ModelFigures();
  if (std::find(figures.begin(), figures.end(), name) != figures.end()) return ModelFigure(name);
  return ConfigKey(name);
}

absl::StatusOr<SweepValue> RunResolver::Entry(const std::string& name, const SweepValue& key) {
  const auto table = file_.tables.find(name);
  if (table == file_.tables.end()) {
    std::vector<std::string> names;
    for (const auto& [other, entries] : file_.tables) names.push_back(other);
    const std::string nearest = Nearest(name, names);
    return absl::NotFoundError(absl::StrCat("unknown table '", name, "'",
                                            nearest.empty() ? "" : "; did you mean '", nearest,
                                            nearest.empty() ? "" : "'?"));
  }
  std::vector<std::string> keys;
  for (const auto& [entry, value] : table->second.entries) {
    if (entry == key) return value;
    keys.push_back(ValueText(entry));
  }
  return absl::NotFoundError(absl::StrCat("the table '", name, "' has no entry for ",
                                          ValueText(key), "; it has ", absl::StrJoin(keys, ", ")));
}

absl::StatusOr<SweepValue> RunResolver::ModelFigure(const std::string& name) {
  if (const auto found = figures_.find(name); found != figures_.end()) return found->second;
  for (auto& [key, pending] : pending_) {
    const bool matters =
        absl::StartsWith(key, "model.") || (name == "flops_per_token" && key == "data.seq_len");
    if (matters) RETURN_IF_ERROR(Settle(&pending));
  }
  std::vector<ConfigFault> faults;
  RunConfig config;
  StrictReader reader(tree_, "", &faults);
  VisitRunConfig(reader, &config);
  std::vector<std::string> messages = config.model.Validate();
  for (const ConfigFault& fault : faults) {
    if (absl::StartsWith(fault.key, "model.")) messages.push_back(fault.message);
  }
  // The reading of the whole run says what is wrong with the model.
  if (!messages.empty()) return FollowsFromAnother();
  if (name == "parameters") {
    figures_[name] = static_cast<double>(CountParameters(config.model));
  } else {
    const int64_t seq_len = config.data.seq_len;
    if (seq_len < 1 || seq_len > std::numeric_limits<int32_t>::max()) return FollowsFromAnother();
    figures_[name] = FlopsPerToken(config.model, seq_len).training;
  }
  return figures_.at(name);
}

absl::StatusOr<SweepValue> RunResolver::ConfigKey(const std::string& key) {
  const ConfigNode* node = FindPath(tree_, key);
  const ConfigNode defaults = node == nullptr ? WithDefaults(tree_) : ConfigNode();
  if (node == nullptr) node = FindPath(defaults, key);
  if (node == nullptr) return UnknownName(key);
  if (node->kind != ConfigNode::Kind::kScalar) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", key, "' is ", node->Describe(), ", not a number or a text"));
  }
  return node->quoted ? SweepValue(node->scalar) : ValueOfText(node->scalar);
}

absl::Status RunResolver::UnknownName(const std::string& name) {
  std::vector<std::string> names = ModelFigures();
  for (const auto& [key, value] : values_) names.push_back(key);
  for (const auto& [key, pending] : pending_) names.push_back(key);
  for (const auto& [key, value] : FlattenConfig(WithDefaults(tree_))) names.push_back(key);
  const std::string nearest = Nearest(name, names);
  return absl::NotFoundError(
      absl::StrCat("unknown name '", name, "'; ",
                   nearest.empty() ? "expected a variable or an axis of the sweep, a key such as "
                                     "model.hidden_size, parameters or flops_per_token"
                                   : absl::StrCat("did you mean '", nearest, "'?")));
}

}  // namespace wyvern
