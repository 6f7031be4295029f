#include "trainer/commands/all.h"

#include "trainer/commands/selftest.h"

namespace wyvern {

void AddAllCommands(CLI::App& app, int* exit_code) { AddSelftestCommand(app, exit_code); }

}  // namespace wyvern
