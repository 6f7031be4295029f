#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "CLI/CLI.hpp"
#include "trainer/commands/all.h"

namespace {

// Threads of OpenMP that spin while they wait take the cores from OpenBLAS's: a CPU training step
// then runs at a half to a quarter of its speed. The OpenMP runtime reads its policy when the
// program is loaded, so the program starts once more with it.
void WaitPassively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  execv("/proc/self/exe", argv);  // on failure, work goes on, only slower
}

}  // namespace

// Exit codes: 0 done, 1 the work failed (one message on stderr says why), 2 wrong usage.
int main(int argc, char** argv) {
  WaitPassively(argv);
  CLI::App app("Wyvern trains language models whose token mixers are delta rules.", "wyvern");
  app.require_subcommand(1);
  int exit_code = 0;
  try {
    wyvern::AddAllCommands(app, &exit_code);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "wyvern: %s\n", error.what());
    return 1;
  }
  return exit_code;
}
