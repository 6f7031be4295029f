// With which parameters a training run begins (trainer/loop/train_loop.h).
#include <memory>

#include "absl/strings/str_cat.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/parent_record.h"
#include "trainer/init/init_plan.h"
#include "trainer/init/parent_weights.h"
#include "trainer/loop/train_loop.h"

namespace wyvern {
namespace {

// A warning about the parent's tokenizer; empty: it is the run's.
std::string TokenizerWarning(const ParentWeights& parent, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr || parent.tokenizer_hash() == tokenizer->hash()) return "";
  if (parent.tokenizer_hash().empty()) {
    return absl::StrCat("the weights of ", parent.path(),
                        " come without a tokenizer; make sure that they were trained with the ids "
                        "of this run's");
  }
  return absl::StrCat("the weights of ", parent.path(), " belong to ANOTHER TOKENIZER (hash ",
                      parent.tokenizer_hash(), ", this run's is ", tokenizer->hash(),
                      "): a token's row of the embedding is that of another token");
}

}  // namespace

absl::Status TrainingRun::CheckInit() const {
  const TrainSection& train = plan_.config.train;
  if (train.init_from.empty()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<ParentWeights>> parent = ParentWeights::Open(train.init_from);
  if (!parent.ok()) {
    return absl::Status(parent.status().code(),
                        absl::StrCat("train.init_from: ", parent.status().message()));
  }
  return PlanInit(**parent, train, Model::Declare(plan_.config.model).get()).status();
}

absl::Status TrainingRun::Initialize() {
  engine_.model->Initialize(plan_.config.run.seed);
  if (plan_.config.train.init_from.empty()) return absl::OkStatus();
  return Agreed(LoadParent());
}

absl::Status TrainingRun::LoadParent() {
  const TrainSection& train = plan_.config.train;
  ASSIGN_OR_RETURN(const std::unique_ptr<ParentWeights> parent,
                   ParentWeights::Open(train.init_from));
  ASSIGN_OR_RETURN(const InitPlan plan, PlanInit(*parent, train, engine_.model.get()));
  RETURN_IF_ERROR(LoadInit(*parent, plan, *engine_.optimizer, engine_.model.get()));
  Say(absl::StrCat("beginning with the weights of ", parent->path(), ": ", plan.taken.size(),
                   " tensors"));
  for (const std::string& line : plan.lines) Say(absl::StrCat("  ", line));
  for (const std::string& warning : parent->warnings()) Say(absl::StrCat("  ", warning));
  const std::string tokenizer = TokenizerWarning(*parent, data_.tokenizer.get());
  if (IsFirst() && !tokenizer.empty()) {
    SayError(absl::StrCat("warning: ", tokenizer));
  }
  LogOfRank(absl::StrCat("begins with the weights of ", parent->path()));
  parent_ = parent->record();
  unlogged_parent_ = parent_;
  return absl::OkStatus();
}

}  // namespace wyvern
