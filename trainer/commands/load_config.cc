#include "trainer/commands/load_config.h"

#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/config/load.h"
#include "trainer/evaluation/evaluate.h"

namespace wyvern {

absl::StatusOr<RunConfig> LoadConfigAndTasks(const std::string& path,
                                             const std::vector<std::string>& sets) {
  ASSIGN_OR_RETURN(RunConfig config, AsUsage(LoadRunConfig(path, sets)));
  RETURN_IF_ERROR(AsUsage(CheckTasks(config.evaluation.tasks)));
  return config;
}

}  // namespace wyvern
