#include "trainer/report/standard_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include "data/io/file.h"

namespace wyvern {
namespace {

bool g_only_a_log = false;
bool g_told = false;

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

void HoldStandardStreams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (fcntl(stream, F_GETFD) != -1) continue;
    // Takes the lowest number that is free: this one. Writes to it fail, as they did.
    static_cast<void>(open("/dev/null", O_RDONLY));
  }
}

void IgnoreWriteSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

absl::Status FlushOutput() {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0;
  int error = failed ? errno : 0;
  const bool lost = failed || std::ferror(stdout) != 0;
  if (lost && ReaderLeft()) error = EPIPE;
  return lost ? Lost(error) : absl::OkStatus();
}

void OutputIsOnlyALog() { g_only_a_log = true; }

void OutputLossIsTold() { g_told = true; }

int CloseOutput(int exit_code) {
  absl::Status status = FlushOutput();
  errno = 0;
  // A network's file system may refuse a write as late as here.
  if (std::fclose(stdout) != 0 && status.ok() && errno != EBADF) status = Lost(errno);
  if (status.ok()) return exit_code;
  const std::string message(status.message());
  if (!g_only_a_log) {
    std::fprintf(stderr, "wyvern: %s\n", message.c_str());
    return exit_code == 0 ? 1 : exit_code;
  }
  if (!g_told) {
    std::fprintf(stderr, "wyvern: warning: %s; what was made is in its folder\n", message.c_str());
  }
  return exit_code;
}

}  // namespace wyvern
