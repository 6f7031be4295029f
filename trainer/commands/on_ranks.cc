#include "trainer/commands/on_ranks.h"

#include <cstdio>

#include "trainer/commands/command.h"

namespace wyvern {

int OnAllRanks(const std::function<absl::Status(World*)>& command) {
  const absl::StatusOr<std::unique_ptr<World>> world = World::Connect();
  if (!world.ok()) return ExitCode(world.status());
  const bool main = (*world)->rank() == 0;
  if (!main && std::freopen("/dev/null", "w", stdout) == nullptr) return 1;
  const absl::Status status = command(world->get());
  return main ? ExitCode(status) : !status.ok();
}

}  // namespace wyvern
