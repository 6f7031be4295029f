#include "trainer/commands/command.h"

#include <cstdio>
#include <string>

#include "kernels/runtime/status.h"

namespace wyvern {

int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fflush(stdout);
  std::fprintf(stderr, "wyvern: %s\n", std::string(status.message()).c_str());
  return 1;
}

absl::StatusOr<CheckpointInfo> OpenCheckpointAloud(const std::string& path) {
  ASSIGN_OR_RETURN(CheckpointInfo info, OpenCheckpoint(path));
  for (const std::string& line : info.passed_over) std::fprintf(stderr, "%s\n", line.c_str());
  std::fprintf(stderr, "reading %s\n", info.path.c_str());
  return info;
}

}  // namespace wyvern
