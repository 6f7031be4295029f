#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "data/io/printable.h"
#include "kernels/runtime/operation.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/usage.h"
#include "trainer/report/standard_output.h"
#include "trainer/run/stop_signal.h"
#include "trainer/run/version.h"

namespace {

// Threads of OpenMP that spin while they wait take the cores from OpenBLAS's: a CPU training step
// then runs at a half to a quarter of its speed. The OpenMP runtime reads its policy when the
// program is loaded, so the program starts once more with it.
void WaitPassively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  execv("/proc/self/exe", argv);  // on failure, the program works, only slower
}

// "wyvern checkpoint info"
std::string CommandName(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app.get_name() : app.get_name() + " " + CommandName(*chosen.front());
}

// The exit code after an exception, thrown by a library or for want of memory.
int Ended(const CLI::App& app, const std::string& what) {
  const std::string operation = wyvern::Operation::Failed();
  std::fflush(stdout);
  const std::string text =
      absl::StrCat(CommandName(app), ": ", what, operation.empty() ? "" : " while ", operation);
  std::fprintf(stderr, "%s\n", wyvern::Printable(text).c_str());
  return 1;
}

// A library may end the program by exit(), as HDF5 does where it has no memory for a handle. Other
// threads still run then, so nothing is taken down.
bool returned = false;

void ExitOfALibrary() {
  if (returned) return;
  const std::string operation = wyvern::Operation::Current();
  std::fprintf(stderr, "wyvern: a library ended the program%s%s, most often for want of memory\n",
               operation.empty() ? "" : " while ", operation.c_str());
  std::_Exit(1);
}

// Exit codes: 0 done, 1 the work failed (one message on stderr says why), 2 wrong usage, of the
// command line or in a configuration, 128 + N stopped by signal N (trainer/run/stop_signal.h).
int Run(int argc, char** argv) {
  CLI::App app("Wyvern trains language models whose token mixers are delta rules.", "wyvern");
  app.require_subcommand(1);
  app.set_version_flag("--version", wyvern::Version());
  int exit_code = 0;
  try {
    wyvern::AddAllCommands(app, &exit_code);
    wyvern::RefuseNumbersOutOfRange(&app);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const std::string unknown =
        error.get_exit_code() == 0
            ? ""
            : wyvern::UnknownWord(app, std::vector<std::string>(argv + 1, argv + argc));
    if (unknown.empty()) return app.exit(error) == 0 ? 0 : 2;
    std::fprintf(stderr, "wyvern: %s\nRun with --help for more information.\n",
                 wyvern::Printable(unknown).c_str());
    return 2;
  } catch (const std::bad_alloc&) {
    return Ended(app, "out of memory");
  } catch (const std::exception& error) {
    return Ended(app, error.what());
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  wyvern::KeepHangUpIgnored();
  WaitPassively(argv);
  wyvern::HoldStandardStreams();
  wyvern::IgnoreWriteSignals();
  std::atexit(ExitOfALibrary);
  const int exit_code = wyvern::CloseOutput(Run(argc, argv));
  returned = true;
  return exit_code;
}
