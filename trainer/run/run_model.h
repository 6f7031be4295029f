#ifndef WYVERN_TRAINER_RUN_RUN_MODEL_H_
#define WYVERN_TRAINER_RUN_RUN_MODEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "layers/model.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// The device of a resolved configuration. Error: a GPU that is not there.
absl::StatusOr<Device> RunDevice(const RunConfig& config);

// The model of a resolved configuration on its device, to be trained with the recomputation that
// `train` asks for; its parameters are undefined. Running out of memory from now on advises what to
// lower.
absl::StatusOr<std::unique_ptr<Model>> CreateRunModel(const RunConfig& config,
                                                      const Division& division = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_MODEL_H_
