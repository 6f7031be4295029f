#ifndef WYVERN_TRAINER_COMMANDS_LOAD_CONFIG_H_
#define WYVERN_TRAINER_COMMANDS_LOAD_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// LoadRunConfig of a run that is to be trained: the files of tasks that it names are read, too.
// Errors are marked as wrong usage.
absl::StatusOr<RunConfig> LoadConfigAndTasks(const std::string& path,
                                             const std::vector<std::string>& sets);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_LOAD_CONFIG_H_
