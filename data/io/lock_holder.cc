#include "data/io/lock_holder.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "kernels/runtime/clock.h"

namespace wyvern {
namespace {

constexpr absl::string_view kMark = "wyvern-lock";
constexpr size_t kMaxCommand = 300;

// One word: the text's fields are separated by spaces.
std::string Word(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) c = '_';
  }
  return text.empty() ? "?" : text;
}

std::string Content(const char* path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : std::string();
}

std::string PidNamespace() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/ns/pid", error).string();
}

std::string Command() {
  std::string text = Content("/proc/self/cmdline");
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return std::string(absl::StripAsciiWhitespace(text.substr(0, kMaxCommand)));
}

// State and start of a process, of /proc/PID/stat: "PID (NAME) STATE PPID ...".
struct ProcessStat {
  char state = '?';
  uint64_t start_ticks = 0;
};

std::optional<ProcessStat> StatOf(int64_t pid) {
  const std::string text = Content(absl::StrCat("/proc/", pid, "/stat").c_str());
  const size_t end = text.rfind(')');  // the name may hold anything
  if (end == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(end + 1), ' ', absl::SkipEmpty());
  ProcessStat stat;
  if (fields.size() < 20 || !absl::SimpleAtoi(fields[19], &stat.start_ticks)) return std::nullopt;
  stat.state = fields[0][0];
  return stat;
}

}  // namespace

LockHolder LockHolder::Self() {
  LockHolder self;
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) == 0) self.host = host;
  self.host = Word(self.host);
  self.boot = Word(Content("/proc/sys/kernel/random/boot_id"));
  self.pid_namespace = Word(PidNamespace());
  self.pid = getpid();
  if (const auto stat = StatOf(self.pid)) self.start_ticks = stat->start_ticks;
  self.since = UtcTime();
  self.command = Command();
  return self;
}

std::string LockHolder::Text() const {
  return absl::StrCat(kMark, " ", host, " ", boot, " ", pid_namespace, " ", pid, " ", start_ticks,
                      " ", since, " ", command);
}

std::optional<LockHolder> LockHolder::Parse(absl::string_view text) {
  const std::vector<std::string> fields =
      absl::StrSplit(absl::StripAsciiWhitespace(text), absl::MaxSplits(' ', 7));
  LockHolder holder;
  if (fields.size() < 7 || fields[0] != kMark || !absl::SimpleAtoi(fields[4], &holder.pid) ||
      !absl::SimpleAtoi(fields[5], &holder.start_ticks) || holder.pid <= 0) {
    return std::nullopt;
  }
  holder.host = fields[1];
  holder.boot = fields[2];
  holder.pid_namespace = fields[3];
  holder.since = fields[6];
  if (fields.size() > 7) holder.command = fields[7];
  return holder;
}

bool LockHolder::MayBeText(absl::string_view text) {
  const size_t size = std::min(text.size(), kMark.size());
  return text.substr(0, size) == kMark.substr(0, size);
}

std::string LockHolder::ToString() const {
  return absl::StrCat(command.empty() ? "" : absl::StrCat("`", command, "`, "), "process ", pid,
                      " on ", host, ", since ", since);
}

LockHolder::Life LockHolder::life() const {
  const LockHolder self = Self();
  if (host != self.host || boot != self.boot || pid_namespace != self.pid_namespace) {
    return Life::kUnknown;
  }
  if (kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return Life::kDead;
  const std::optional<ProcessStat> stat = StatOf(pid);
  if (!stat.has_value() || start_ticks == 0) return Life::kAlive;  // /proc does not tell
  // Its number may have come to another process; a zombie has only not been asked for yet.
  const bool dead = stat->start_ticks != start_ticks || stat->state == 'Z' || stat->state == 'X';
  return dead ? Life::kDead : Life::kAlive;
}

}  // namespace wyvern
