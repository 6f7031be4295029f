// The program itself as another process: a run of a sweep, a run that is verified.
#ifndef WYVERN_TRAINER_RUN_SELF_PROCESS_H_
#define WYVERN_TRAINER_RUN_SELF_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace wyvern {

// The variables of this process, "NAME=value", with those of `added` in the place of theirs, and
// without those that would make a process one of several ranks.
std::vector<std::string> EnvironmentOfOne(const std::map<std::string, std::string>& added = {});

// Starts `wyvern ARGUMENTS...`, whose output is appended to the file `log`, in a process group of
// its own: Ctrl-C reaches this process alone. Should this process die, that one gets SIGTERM. The
// caller waits for it. Error: the log cannot be opened.
absl::StatusOr<pid_t> StartSelf(std::vector<std::string> arguments,
                                std::vector<std::string> environment, const std::string& log);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_SELF_PROCESS_H_
