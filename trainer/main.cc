#include <cstdio>
#include <exception>

#include "CLI/CLI.hpp"
#include "trainer/commands/all.h"

// Exit codes: 0 done, 1 the work failed (one message on stderr says why), 2 wrong usage.
int main(int argc, char** argv) {
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
