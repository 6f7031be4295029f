#include "trainer/sweep/local_runner.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "data/io/printable.h"
#include "data/io/terminal.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/status.h"
#include "trainer/report/console.h"
#include "trainer/run/self_process.h"
#include "trainer/run/stop_signal.h"
#include "trainer/sweep/run_state.h"
#include "trainer/sweep/status_table.h"

namespace wyvern {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr auto kRefresh = std::chrono::seconds(1);      // of the table
constexpr auto kPlainEvery = std::chrono::seconds(60);  // without a terminal

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The environment of a job's process.
std::vector<std::string> JobEnvironment(const SweepRun& run, int64_t slot, int64_t jobs) {
  std::map<std::string, std::string> added;
  if (jobs > 1 && run.config.run.device == Device::kCuda) {
    const std::string gpu =
        VisibleDeviceOfSlot(slot, Environment("CUDA_VISIBLE_DEVICES"), GpuCount());
    if (!gpu.empty()) added["CUDA_VISIBLE_DEVICES"] = gpu;
  }
  if (jobs > 1 && Environment("OMP_NUM_THREADS").empty()) {
    const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
    const std::string share = absl::StrCat(std::max<int64_t>(1, cores / jobs));
    added["OMP_NUM_THREADS"] = share;
    if (Environment("OPENBLAS_NUM_THREADS").empty()) added["OPENBLAS_NUM_THREADS"] = share;
  }
  return EnvironmentOfOne(added);
}

class LocalSweep {
 public:
  LocalSweep(const SweepPlan& plan, int64_t jobs)
      : plan_(plan),
        states_(ReadRunStates(plan.runs)),
        slots_(static_cast<size_t>(jobs)),
        live_(StdoutIsTerminal()) {}

  absl::Status Run() {
    const StopSignal signal;
    for (size_t i = 0; i < plan_.runs.size(); ++i) {
      if (states_[i].stage == RunStage::kFinished) continue;
      if (states_[i].stage == RunStage::kRunning) {
        Say(absl::StrCat(plan_.runs[i].name, " is running elsewhere"));
      } else {
        queue_.push_back(i);
      }
    }
    Say(absl::StrCat(plan_.runs.size(), " runs in ", plan_.file.dir, ": ", CountText(states_)));
    bool stopping = false;
    for (;;) {
      if (!stopping && StopSignal::Received() != 0) {
        stopping = true;
        queue_.clear();
        for (const Slot& slot : slots_) {
          if (slot.pid > 0) kill(slot.pid, SIGTERM);
        }
        Say("stopping: the runs save first; the same command resumes later");
      }
      for (size_t s = 0; s < slots_.size(); ++s) {
        RETURN_IF_ERROR(Reap(&slots_[s]));
        if (slots_[s].pid == 0 && !queue_.empty()) {
          RETURN_IF_ERROR(Start(queue_.front(), s));
          queue_.erase(queue_.begin());
        }
      }
      if (NumBusy() == 0) break;
      Show(false);
      std::this_thread::sleep_for(kPoll);
    }
    states_ = ReadRunStates(plan_.runs);
    Show(true);
    return Verdict(stopping);
  }

 private:
  struct Slot {
    pid_t pid = 0;  // 0: free
    size_t run = 0;
    Clock::time_point begin;
  };

  size_t NumBusy() const {
    return static_cast<size_t>(
        std::count_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.pid != 0; }));
  }

  // A line that stays, above the table.
  void Say(const std::string& text) {
    EraseTable();
    std::printf("%s\n", Printable(text).c_str());
    std::fflush(stdout);
  }

  void EraseTable() {
    if (table_rows_ > 0) std::printf("\033[%zuA\033[J", table_rows_);
    table_rows_ = 0;
  }

  void Show(bool last) {
    const auto now = Clock::now();
    if (!last &&
        now - shown_ < (live_ ? Clock::duration(kRefresh) : Clock::duration(kPlainEvery))) {
      return;
    }
    const bool first = shown_ == Clock::time_point();
    shown_ = now;
    if (!live_ && first && !last) return;
    if (!last) {
      const std::set<uint64_t> locked = LockedInodes();
      for (const Slot& slot : slots_) {
        if (slot.pid == 0) continue;
        states_[slot.run] = ReadRunState(plan_.runs[slot.run], locked);
        states_[slot.run].stage = RunStage::kRunning;
      }
    }
    const TerminalSize size = StdoutSize();
    const bool known = size.rows > 8;
    const size_t rows = last || !live_ ? plan_.runs.size() : known ? size.rows - 6u : 18u;
    if (!live_ && !last) {
      for (const Slot& slot : slots_) {
        if (slot.pid != 0) Say(Progress(slot.run));
      }
      return;
    }
    EraseTable();
    const std::vector<std::string> lines = StatusLines(plan_, states_, rows);
    for (const std::string& line : lines) {
      const size_t columns = live_ && !last && known ? size.columns - 1u : line.size();
      std::printf("%s\n", line.substr(0, columns).c_str());
    }
    std::fflush(stdout);
    if (!last) table_rows_ = lines.size();
  }

  std::string Progress(size_t run) const {
    const RunState& state = states_[run];
    std::string text =
        absl::StrCat(plan_.runs[run].name, ": step ", state.step, "/", plan_.runs[run].Steps());
    if (state.loss.has_value()) absl::StrAppendFormat(&text, "  loss %.4f", *state.loss);
    if (state.tokens_per_s.has_value()) {
      absl::StrAppendFormat(&text, "  %.0f tokens/s", *state.tokens_per_s);
    }
    return text;
  }

  absl::Status Start(size_t index, size_t slot_index) {
    const SweepRun& run = plan_.runs[index];
    const bool goes_on = states_[index].step > 0;
    ForgetExit(run);
    // Ctrl-C reaches the sweep, which passes it on once. Should the sweep die, the run saves and
    // stops.
    ASSIGN_OR_RETURN(const pid_t pid,
                     StartSelf({"train", run.Dir() + "/config.yaml"},
                               JobEnvironment(run, static_cast<int64_t>(slot_index),
                                              static_cast<int64_t>(slots_.size())),
                               run.LogPath()));
    slots_[slot_index] = {pid, index, Clock::now()};
    states_[index].stage = RunStage::kRunning;
    Say(absl::StrCat(goes_on ? "resumed  " : "started  ", run.name, "  (", run.LogPath(), ")"));
    return absl::OkStatus();
  }

  absl::Status Reap(Slot* slot) {
    if (slot->pid == 0) return absl::OkStatus();
    int status = 0;
    if (waitpid(slot->pid, &status, WNOHANG) != slot->pid) return absl::OkStatus();
    const SweepRun& run = plan_.runs[slot->run];
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (code != 0 && !IsStoppedExitCode(code)) RETURN_IF_ERROR(RecordExit(run, code));
    slot->pid = 0;
    RunState& state = states_[slot->run];
    state = ReadRunState(run, {});
    const double seconds = std::chrono::duration<double>(Clock::now() - slot->begin).count();
    std::string text =
        absl::StrCat(Name(state.stage), "  ", run.name, "  in ", DurationText(seconds));
    if (state.stage == RunStage::kFinished && state.val_loss.has_value()) {
      absl::StrAppendFormat(&text, ": validation loss %.4f", *state.val_loss);
    } else if (state.stage == RunStage::kFailed) {
      absl::StrAppend(&text, ": exit code ", code, ": ", LastLogLine(run));
    } else if (state.stage == RunStage::kStopped) {
      absl::StrAppend(&text, " at step ", state.step);
    }
    Say(text);
    return absl::OkStatus();
  }

  absl::Status Verdict(bool stopped) const {
    const auto finished = std::count_if(states_.begin(), states_.end(), [](const RunState& s) {
      return s.stage == RunStage::kFinished;
    });
    if (finished == static_cast<int64_t>(states_.size())) return absl::OkStatus();
    const std::string failures = FailureText(plan_, states_);
    const auto failed = std::count_if(states_.begin(), states_.end(), [](const RunState& s) {
      return s.stage == RunStage::kFailed;
    });
    std::string message = absl::StrCat(plan_.file.dir, ": ", CountText(states_));
    if (failed > 0) absl::StrAppend(&message, "\n", failures);
    if (stopped) absl::StrAppend(&message, failed > 0 ? "" : "; ", "the same command resumes");
    return absl::AbortedError(message);
  }

  const SweepPlan& plan_;
  std::vector<RunState> states_;
  std::vector<Slot> slots_;
  std::vector<size_t> queue_;
  const bool live_;
  size_t table_rows_ = 0;
  Clock::time_point shown_;
};

}  // namespace

std::string VisibleDeviceOfSlot(int64_t slot, const std::string& visible, int64_t num_gpus) {
  std::vector<std::string> devices = absl::StrSplit(visible, ',', absl::SkipWhitespace());
  for (int64_t i = 0; devices.size() < static_cast<size_t>(num_gpus) && visible.empty(); ++i) {
    devices.push_back(absl::StrCat(i));
  }
  if (devices.size() < 2) return "";
  return devices[static_cast<size_t>(slot) % devices.size()];
}

absl::Status RunSweepLocally(const SweepPlan& plan, int64_t jobs) {
  return LocalSweep(plan, jobs).Run();
}

}  // namespace wyvern
