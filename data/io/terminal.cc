#include "data/io/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/string_view.h"

namespace wyvern {

bool StdoutIsTerminal() {
  const char* said = std::getenv("WYVERN_TERMINAL");
  const bool looked_at = said != nullptr ? absl::string_view(said) != "0"
                                         : std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr;
  return looked_at && isatty(STDOUT_FILENO) == 1;
}

bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }

TerminalSize StdoutSize() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_col, size.ws_row};
}

}  // namespace wyvern
