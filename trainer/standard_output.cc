#include "trainer/standard_output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include "data/file.h"

namespace wyvern {
namespace {

bool g_only_a_log = false;

bool ReaderLeft() {
  pollfd output = {STDOUT_FILENO, 0, 0};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

absl::Status Lost(int error) {
  // An error of an earlier write has left no number behind.
  if (error != 0) return ErrnoStatus(error, "cannot write", "standard output");
  return absl::UnavailableError("cannot write standard output: a part of it is lost");
}

}  // namespace

void IgnoreWriteSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

absl::Status FlushOutput(bool* reader_left) {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0;
  int error = failed ? errno : 0;
  const bool lost = failed || std::ferror(stdout) != 0;
  if (lost && ReaderLeft()) error = EPIPE;
  if (reader_left != nullptr) *reader_left = error == EPIPE;
  return lost ? Lost(error) : absl::OkStatus();
}

void OutputIsOnlyALog() { g_only_a_log = true; }

int CloseOutput(int exit_code) {
  bool reader_left = false;
  absl::Status status = FlushOutput(&reader_left);
  errno = 0;
  // A network's file system may refuse a write as late as here.
  if (std::fclose(stdout) != 0 && status.ok() && errno != EBADF) status = Lost(errno);
  if (status.ok() || (reader_left && g_only_a_log)) return exit_code;
  std::fprintf(stderr, "wyvern: %s\n", std::string(status.message()).c_str());
  return exit_code == 0 ? 1 : exit_code;
}

}  // namespace wyvern
