// Which of a parent's weights a model takes, by which rules, and how it takes them.
#ifndef WYVERN_TRAINER_INIT_INIT_PLAN_H_
#define WYVERN_TRAINER_INIT_INIT_PLAN_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "layers/model.h"
#include "trainer/config/run_config.h"
#include "trainer/init/parent_weights.h"
#include "trainer/optimizer/optimizer.h"

namespace wyvern {

// The source of a tensor of the model: elements [0, num_elements) of a tensor of the parent,
// row-major.
struct TakenTensor {
  std::string from;
  int64_t num_elements = 0;
};

struct InitPlan {
  std::map<std::string, TakenTensor> taken;  // by the parameter or buffer; the others are drawn
  // One line for each tensor that did not match, with what is done about it; then one for each key
  // of the two configurations that differs.
  std::vector<std::string> lines;
};

// Compares all tensors, and reads none. `model` need not have memory. Parameters and buffers match
// by name and whole shape; a head of its own takes the parent's embedding where that is its head.
// The error, InvalidArgument, names every tensor that the rules of `train` do not allow.
absl::StatusOr<InitPlan> PlanInit(const ParentWeights& parent, const TrainSection& train,
                                  Model* model);

// Writes this rank's slices of the taken tensors into master weights, parameters and buffers of an
// initialised model, whatever its mesh. Ranks may call it independently. What they update in shards
// is to be gathered afterwards (DataParallel::ValuesChanged).
absl::Status LoadInit(const ParentWeights& parent, const InitPlan& plan, const Optimizer& optimizer,
                      Model* model);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INIT_INIT_PLAN_H_
