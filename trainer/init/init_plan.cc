#include "trainer/init/init_plan.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/sharded_state.h"
#include "trainer/init/model_differences.h"

namespace wyvern {
namespace {

constexpr char kEmbedding[] = "embedding.weight", kHead[] = "head.weight";
constexpr size_t kMaxShownFaults = 20;

// Compares tensor by tensor, and says of each one that does not match what the rules make of it.
class Planner {
 public:
  Planner(const ParentWeights& parent, const TrainSection& train)
      : parent_(parent), train_(train) {}

  void Add(const std::string& name, const Shape& shape) {
    const auto& shapes = parent_.shapes();
    std::string from = name;
    if (shapes.count(name) == 0 && name == kHead && parent_.model().tie_embeddings) {
      from = kEmbedding;
      plan_.lines.push_back(
          absl::StrCat(name, " ", ToString(shape), ": copied from ", kEmbedding, ", their head"));
    }
    const auto found = shapes.find(from);
    if (found == shapes.end()) {
      Judge(train_.init_missing, absl::StrCat(name, " ", ToString(shape), ": they lack it"),
            "drawn", "train.init_missing: init draws it");
      return;
    }
    used_.insert(from);
    const Shape& there = found->second;
    if (there == shape) {
      plan_.taken[name] = {from, NumElements(shape)};
      return;
    }
    const bool table = name == kEmbedding || name == kHead;
    if (table && there.size() == 2 && there[1] == shape[1]) {
      const int64_t rows = std::min(there[0], shape[0]);
      plan_.taken[name] = {from, rows * shape[1]};
      const std::string rest = shape[0] > rows
                                   ? absl::StrCat("the others are drawn")
                                   : absl::StrCat("their last ", there[0] - rows, " are left out");
      Judge(train_.init_vocab,
            absl::StrCat(name, ": ", there[0], " rows there, ", shape[0], " here"),
            absl::StrCat("the first ", rows, " are copied, ", rest),
            absl::StrCat("train.init_vocab: resize copies the first ", rows, "; ", rest));
      return;
    }
    Judge(train_.init_missing,
          absl::StrCat(name, ": ", ToString(there), " there, ", ToString(shape), " here"), "drawn",
          "train.init_missing: init draws it");
  }

  absl::StatusOr<InitPlan> Finish() {
    for (const auto& [name, shape] : parent_.shapes()) {
      if (used_.count(name) > 0) continue;
      Judge(train_.init_extra, absl::StrCat(name, " ", ToString(shape), ": the model lacks it"),
            "left out", "train.init_extra: ignore leaves it out");
    }
    if (plan_.taken.empty()) faults_.push_back("no tensor fits by name and shape");
    if (faults_.empty()) return std::move(plan_);
    if (faults_.size() > kMaxShownFaults) {
      const size_t more = faults_.size() - kMaxShownFaults;
      faults_.resize(kMaxShownFaults);
      faults_.push_back(absl::StrCat("and ", more, " more"));
    }
    return absl::InvalidArgumentError(absl::StrCat("train.init_from: the weights of ",
                                                   parent_.path(), " do not fit the model:\n  ",
                                                   absl::StrJoin(faults_, "\n  ")));
  }

 private:
  void Judge(MismatchRule rule, const std::string& what, const std::string& done,
             const std::string& advice) {
    if (rule == MismatchRule::kAllow) {
      plan_.lines.push_back(absl::StrCat(what, ": ", done));
    } else {
      faults_.push_back(absl::StrCat(what, " (", advice, ")"));
    }
  }

  const ParentWeights& parent_;
  const TrainSection& train_;
  InitPlan plan_;
  std::set<std::string> used_;
  std::vector<std::string> faults_;
};

}  // namespace

absl::StatusOr<InitPlan> PlanInit(const ParentWeights& parent, const TrainSection& train,
                                  Model* model) {
  Planner planner(parent, train);
  for (const Parameter* p : model->parameters()) planner.Add(p->name, p->whole_shape);
  for (const ModelBuffer* b : model->buffers()) planner.Add(b->name, b->shape);
  ASSIGN_OR_RETURN(InitPlan plan, planner.Finish());
  for (std::string& line : ModelDifferences(parent.model(), model->config())) {
    plan.lines.push_back(std::move(line));
  }
  return plan;
}

absl::Status LoadInit(const ParentWeights& parent, const InitPlan& plan, const Optimizer& optimizer,
                      Model* model) {
  const Operation loading(absl::StrCat("loading the weights of ", parent.path()));
  std::vector<TensorPart> parts;
  const auto add = [&](absl::string_view name, int64_t begin, const Tensor& values) {
    const auto taken = plan.taken.find(std::string(name));
    if (taken == plan.taken.end() || !values.defined()) return;
    const int64_t size = std::min(values.numel(), taken->second.num_elements - begin);
    if (size <= 0) return;
    parts.push_back({.tensor = {.name = taken->second.from, .shape = {}, .dtype = values.dtype()},
                     .begin = begin,
                     .values = values.Reshape({-1}).Rows(0, size)});
  };
  for (const TensorPart& part : MasterParts(optimizer)) {
    absl::string_view name = part.tensor.name;
    absl::ConsumePrefix(&name, "model/");
    add(name, part.begin, part.values);
  }
  for (const ModelBuffer* buffer : model->buffers()) add(buffer->name, 0, buffer->value);
  RETURN_IF_ERROR(parent.Read(parts));
  RoundMasters(optimizer);
  return absl::OkStatus();
}

}  // namespace wyvern
