#include "trainer/parallel/rank_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "data/io/file.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/clock.h"
#include "kernels/runtime/failure_observer.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int kFatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr size_t kTail = 4096;   // bytes of a log's end that are read for its last line
constexpr size_t kMaxNamed = 8;  // ranks in a message
constexpr char kWaits[] = "waits: ";
constexpr char kFails[] = "fails: ";
constexpr char kOthers[] = "others: ";  // after the failure

std::atomic<RankLog*> the_log{nullptr};
volatile std::sig_atomic_t crash_fd = -1;

// Only what is safe in a signal handler; the default action ends the process.
extern "C" void WriteCrash(int signal) {
  char text[] = "fails: ended by signal 00\n";
  text[sizeof(text) - 4] = static_cast<char>('0' + signal / 10);
  text[sizeof(text) - 3] = static_cast<char>('0' + signal % 10);
  if (crash_fd >= 0 && write(crash_fd, text, sizeof(text) - 1) < 0) return;
  raise(signal);
}

void InstallCrashHandlers(bool on) {
  struct sigaction action = {};
  action.sa_handler = on ? WriteCrash : SIG_DFL;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : kFatal) sigaction(signal, &action, nullptr);
}

std::string OneLine(const std::string& text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

void LogFailure(const std::string& message) {
  if (const RankLog* log = the_log) log->Line(kFails + OneLine(message));
  crash_fd = -1;  // the abort that follows says less
}

// Without its time; empty if there is no line.
std::string LastLine(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const off_t size = lseek(fd, 0, SEEK_END);
  std::string tail(std::min<size_t>(kTail, static_cast<size_t>(std::max<off_t>(size, 0))), '\0');
  const ssize_t read = pread(fd, tail.data(), tail.size(), size - static_cast<off_t>(tail.size()));
  close(fd);
  tail.resize(static_cast<size_t>(std::max<ssize_t>(read, 0)));
  const std::vector<std::string> lines = absl::StrSplit(tail, '\n', absl::SkipEmpty());
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const size_t space = line->find(' ');
    const bool timed = space != std::string::npos && (*line)[space - 1] == 'Z';
    const std::string text = timed ? line->substr(space + 1) : *line;
    if (!absl::StartsWith(text, kOthers)) return text;
  }
  return "";
}

}  // namespace

void LogOfRank(const std::string& text) {
  if (const RankLog* log = the_log) log->Line(text);
}

std::string RankLogPath(const std::string& run_dir, int rank) {
  return absl::StrFormat("%s/logs/rank-%05d.log", run_dir, rank);
}

std::string DescribeOthers(int own, bool waits, const std::vector<std::string>& hosts,
                           const std::vector<std::string>& last_lines) {
  std::vector<std::string> silent, failed;
  for (size_t r = 0; r < last_lines.size(); ++r) {
    const std::string& last = last_lines[r];
    if (static_cast<int>(r) == own || absl::StartsWith(last, kWaits)) continue;
    const std::string name = absl::StrCat("rank ", r, " (", hosts[r], ")");
    if (absl::StartsWith(last, kFails)) {
      const std::string message = last.substr(std::strlen(kFails));
      // Those of lost ranks name themselves.
      const bool named = absl::StartsWith(message, absl::StrCat("rank ", r, " of "));
      failed.push_back(named ? message : absl::StrCat(name, ": ", message));
    } else if (waits) {
      silent.push_back(last.empty() ? name
                                    : absl::StrCat(name, ", whose log ends with '", last, "'"));
    }
  }
  const auto list = [](std::vector<std::string>* names) {
    const size_t count = names->size();
    if (count > kMaxNamed) {
      names->resize(kMaxNamed);
      names->push_back(absl::StrCat("and ", count - kMaxNamed, " more"));
    }
    return absl::StrJoin(*names, "; ");
  };
  std::string text;
  if (!silent.empty()) text = absl::StrCat("suspect (not waiting, not failed): ", list(&silent));
  if (!failed.empty()) {
    absl::StrAppend(&text, text.empty() ? "" : "; ", "failed before: ", list(&failed));
  }
  return text;
}

absl::StatusOr<std::unique_ptr<RankLog>> RankLog::Open(const std::string& run_dir,
                                                       const World& world) {
  if (world.size() == 1) return nullptr;
  CHECK(the_log == nullptr, "two logs of one rank");
  RETURN_IF_ERROR(MakeFolders(run_dir + "/logs"));
  const std::string path = RankLogPath(run_dir, world.rank());
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, "cannot open", path);
  std::vector<std::string> hosts;
  for (int r = 0; r < world.size(); ++r) hosts.push_back(world.host_name(r));
  std::unique_ptr<RankLog> log(new RankLog(run_dir, world.rank(), std::move(hosts), fd));
  log->Line(absl::StrCat("starts: rank ", world.rank(), " of ", world.size(), " on ",
                         world.host_name(world.rank()), ", process ", getpid()));
  return log;
}

RankLog::RankLog(std::string folder, int rank, std::vector<std::string> hosts, int fd)
    : folder_(std::move(folder)), rank_(rank), hosts_(std::move(hosts)), fd_(fd) {
  the_log = this;
  crash_fd = fd;
  SetCommObserver(this);
  SetFailureObserver(LogFailure);
  InstallCrashHandlers(true);
}

RankLog::~RankLog() {
  InstallCrashHandlers(false);
  SetFailureObserver(nullptr);
  SetCommObserver(nullptr);
  crash_fd = -1;
  the_log = nullptr;
  close(fd_);
}

void RankLog::Line(const std::string& text) const {
  const std::string time = UtcTime(/*with_milliseconds=*/true) + " ";
  std::string lines;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    absl::StrAppend(&lines, time, line, "\n");
  }
  // One write: lines of several threads do not mix. Where it fails there is nobody to tell.
  if (write(fd_, lines.data(), lines.size()) < 0) return;
}

void RankLog::Sync() const {
  if (fsync(fd_) != 0) return;  // a reader on another host then sees less
}

void RankLog::Waits(const std::string& what) {
  waits_ = true;
  Line(kWaits + what);
  Sync();
}

void RankLog::GoesOn(double seconds) {
  waits_ = false;
  Line(absl::StrFormat("continues after %.1f s", seconds));
  Sync();
}

void RankLog::Warns(const std::string& message) { Line("warning: " + message); }

std::string RankLog::Fails(const std::string& message) {
  const bool waited = waits_;
  Line(kFails + OneLine(message));
  Sync();
  std::vector<std::string> last_lines;
  for (size_t r = 0; r < hosts_.size(); ++r) {
    last_lines.push_back(LastLine(RankLogPath(folder_, static_cast<int>(r))));
  }
  const std::string others = DescribeOthers(rank_, waited, hosts_, last_lines);
  if (!others.empty()) Line(kOthers + others);
  return others;
}

}  // namespace wyvern
