#include "trainer/commands/command.h"

#include <cstdio>
#include <string>

namespace wyvern {

int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fflush(stdout);
  std::fprintf(stderr, "wyvern: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace wyvern
