#include "data/io/say.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "data/io/printable.h"
#include "kernels/runtime/clock.h"

namespace wyvern {
namespace {

constexpr size_t kMaxBefore = size_t{1} << 20;  // bytes of lines that wait for a file

std::mutex mutex;
int log_fd = -1;
std::string before;  // lines until there is a file

void Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(log_fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void Print(std::FILE* stream, absl::string_view text) {
  std::fprintf(stream, "%s\n", Printable(text).c_str());
  std::fflush(stream);
}

}  // namespace

void KeepLine(absl::string_view text) {
  const std::string line = absl::StrCat(Printable(text), "\n");
  const std::lock_guard lock(mutex);
  if (log_fd >= 0) {
    Write(line);
  } else if (before.size() + line.size() <= kMaxBefore) {
    before += line;
  }
}

void Say(absl::string_view text) {
  Print(stdout, text);
  KeepLine(text);
}

void SayError(absl::string_view text) {
  std::fflush(stdout);
  Print(stderr, text);
  KeepLine(text);
}

void KeepWhatIsSaid(const std::string& path) {
  const std::lock_guard lock(mutex);
  log_fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log_fd < 0) return;
  Write(absl::StrCat("started at ", UtcTime(), ", process ", getpid(), "\n", before));
  before.clear();
}

}  // namespace wyvern
