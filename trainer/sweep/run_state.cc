#include "trainer/sweep/run_state.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/lock_file.h"
#include "trainer/report/metrics_file.h"

namespace wyvern {
namespace {

constexpr std::streamoff kTailBytes = 256 << 10;
constexpr size_t kSpeedSteps = 20;
constexpr int64_t kLatelySeconds = 120;

std::string Tail(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::streamoff size = file.tellg(), begin = std::max<std::streamoff>(0, size - kTailBytes);
  file.seekg(begin);
  std::ostringstream stream;
  stream << file.rdbuf();
  std::string text = stream.str();
  if (begin > 0) text.erase(0, text.find('\n') + 1);  // the rest of a line
  return text;
}

std::optional<double> Number(const nlohmann::json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

// Locks of other machines are not seen here: a run of a Slurm array that has lately written counts
// as running.
bool OnAnotherMachine(const SweepRun& run) {
  const std::filesystem::path dir = run.Dir();
  struct stat metrics = {};
  std::error_code error;
  return std::filesystem::exists(dir.parent_path() / "slurm_job", error) &&
         stat((dir / "metrics.jsonl").c_str(), &metrics) == 0 &&
         std::time(nullptr) - metrics.st_mtime < kLatelySeconds;
}

std::string ExitPath(const SweepRun& run) { return run.Dir() + "/exit_code"; }

}  // namespace

const char* Name(RunStage stage) {
  switch (stage) {
    case RunStage::kWaiting:
      return "waiting";
    case RunStage::kRunning:
      return "running";
    case RunStage::kStopped:
      return "stopped";
    case RunStage::kFailed:
      return "FAILED";
    case RunStage::kFinished:
      return "finished";
  }
  return "";
}

std::set<uint64_t> LockedInodes() {
  // "1: FLOCK  ADVISORY  WRITE 4711 08:01:262150 0 EOF". Taking a lock to see whether it is free
  // would refuse it to a run that starts at that moment. The device's number may be another one
  // than stat's, so the inode has to do.
  std::set<uint64_t> inodes;
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 6 || fields[1] != "FLOCK") continue;
    uint64_t inode = 0;
    if (absl::SimpleAtoi(fields[5].substr(fields[5].rfind(':') + 1), &inode)) inodes.insert(inode);
  }
  return inodes;
}

RunState ReadRunState(const SweepRun& run, const std::set<uint64_t>& locked) {
  RunState state;
  std::vector<double> speeds;
  const std::string tail = Tail(run.Dir() + "/metrics.jsonl");
  const MetricsLines metrics = ParseMetrics(tail);
  state.unreadable = static_cast<int64_t>(metrics.unreadable.size());
  for (const auto& [step, row, text] : metrics.lines) {
    state.step = step;
    if (const auto loss = Number(row, "loss")) state.loss = loss;
    if (const auto loss = Number(row, "val_loss")) state.val_loss = loss;
    if (const auto speed = Number(row, "tokens_per_s")) speeds.push_back(*speed);
  }
  if (!speeds.empty()) {
    const auto begin = speeds.end() - static_cast<ptrdiff_t>(std::min(speeds.size(), kSpeedSteps));
    const auto middle = begin + (speeds.end() - begin) / 2;
    std::nth_element(begin, middle, speeds.end());
    state.tokens_per_s = *middle;
  }
  std::error_code error;
  struct stat lock = {};
  const absl::StatusOr<std::string> exit_text = ReadFileOf(kNoteFile, ExitPath(run));
  if (exit_text.ok()) {
    (void)absl::SimpleAtoi(absl::StripAsciiWhitespace(*exit_text), &state.exit_code);
  }
  const bool finished =
      state.step >= run.Steps() && std::filesystem::exists(run.Dir() + "/report.html", error);
  const std::string lock_path = run.Dir() + "/lock";
  if ((stat(lock_path.c_str(), &lock) == 0 && locked.count(lock.st_ino) > 0) ||
      LockFile::HasLiveOwnerLink(lock_path)) {
    state.stage = RunStage::kRunning;
  } else if (!finished && !exit_text.ok() && OnAnotherMachine(run)) {
    state.stage = RunStage::kRunning;
  } else if (finished) {
    state.stage = RunStage::kFinished;
  } else if (state.exit_code != 0) {
    state.stage = RunStage::kFailed;
  } else if (std::filesystem::exists(run.LogPath(), error) ||
             std::filesystem::exists(run.Dir() + "/metrics.jsonl", error)) {
    state.stage = RunStage::kStopped;
  }
  return state;
}

std::vector<RunState> ReadRunStates(const std::vector<SweepRun>& runs) {
  const std::set<uint64_t> locked = LockedInodes();
  std::vector<RunState> states;
  for (const SweepRun& run : runs) states.push_back(ReadRunState(run, locked));
  return states;
}

absl::Status RecordExit(const SweepRun& run, int exit_code) {
  return WriteFileAtomically(ExitPath(run), absl::StrCat(exit_code, "\n"));
}

void ForgetExit(const SweepRun& run) { unlink(ExitPath(run).c_str()); }

std::string LastLogLine(const SweepRun& run) {
  const std::string text = Tail(run.LogPath());
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  return lines.empty() ? "" : lines.back();
}

}  // namespace wyvern
