#include "trainer/commands/on_ranks.h"

#include <cstdio>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/comm/failure/comm_failure.h"
#include "trainer/commands/command.h"

namespace wyvern {

absl::StatusOr<std::unique_ptr<World>> ConnectRanks(const absl::StatusOr<RunConfig>& config) {
  if (!config.ok()) return World::Connect();
  SetCommTimeout(config->parallel.timeout);
  const std::string dir = config->RunDir();
  return World::Connect({.run = absl::StrCat("'", config->run.name, "' in ", dir),
                         .folder = AbsolutePath(dir),
                         .timeout = config->parallel.start_timeout});
}

int OnAllRanks(const absl::StatusOr<RunConfig>& config,
               const std::function<absl::Status(World*)>& command) {
  const absl::StatusOr<std::unique_ptr<World>> world = ConnectRanks(config);
  if (!world.ok()) return ExitCode(world.status());
  const bool main = (*world)->rank() == 0;
  if (!main && std::freopen("/dev/null", "w", stdout) == nullptr) return 1;
  const absl::Status status = command(world->get());
  if (status.ok()) return 0;
  // Ranks agree on a message alone, without the mark of wrong usage.
  const int code = IsUsage(config.status()) ? kWrongUsage : 1;
  if (main) {
    ExitCode(status);
    return code;
  }
  const std::string message(status.message());
  SayError(absl::StrCat("wyvern: rank ", (*world)->rank(), " of ", (*world)->size(), " (",
                        (*world)->host_name((*world)->rank()), "): ended with rank 0, which says: ",
                        message.substr(0, message.find('\n'))));
  return code;
}

int OnAllRanks(const std::function<absl::Status(World*)>& command) {
  return OnAllRanks(absl::NotFoundError("there is no configuration"), command);
}

}  // namespace wyvern
