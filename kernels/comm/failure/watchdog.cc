#include "kernels/comm/failure/watchdog.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPeriod = std::chrono::milliseconds(50);
constexpr double kAnswerSeconds = 1;  // a driver that takes longer counts as stuck

class Watchdog {
 public:
  static Watchdog& Get() {
    static Watchdog* watchdog = new Watchdog;  // its threads live as long as the process
    return *watchdog;
  }

  void Add(WatchedOperation operation) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.push_back({.operation = std::move(operation), .activity = CommActivity()});
  }

 private:
  struct Entry {
    WatchedOperation operation;
    std::string activity;  // when it was queued
    // Since when it runs, and since when a question after it has no answer.
    std::optional<Clock::time_point> running, asked;
    bool waits = false;
  };

  // One thread asks the GPU, the other counts the time and asks nobody: the driver gives no answer
  // while another thread's call into it waits, as a launch does in a queue that a lost peer has
  // brought to a stop.
  Watchdog() {
    std::thread([this] {
      MakeGpuCurrent();
      for (;; std::this_thread::sleep_for(kPeriod)) Poll();
    }).detach();
    std::thread([this] {
      for (;; std::this_thread::sleep_for(kPeriod)) Age();
    }).detach();
  }

  // Later operations run after earlier ones, so the first that is not done is the one to look at.
  // Only this thread removes entries, and adding one leaves the others where they are.
  void Poll() {
    for (;;) {
      Entry* entry = nullptr;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (entries_.empty()) return;
        entry = &entries_.front();
        entry->asked = Clock::now();
      }
      const WatchedOperation::State state = entry->operation.poll(entry->activity);
      WatchedOperation done;  // destroyed outside the lock: what it holds is the GPU's
      const std::lock_guard<std::mutex> lock(mutex_);
      if (state == WatchedOperation::State::kDone) {
        if (entry->waits) ObserveEndOfWait(SecondsOf(*entry));
        done = std::move(entry->operation);
        entries_.pop_front();
        continue;
      }
      entry->asked.reset();
      if (state == WatchedOperation::State::kRunning && !entry->running) {
        entry->running = Clock::now();
      }
      return;
    }
  }

  void Age() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (entries_.empty()) return;
    Entry& entry = entries_.front();
    if (!entry.running && !entry.asked) return;
    const double seconds = SecondsOf(entry);
    if (seconds > CommTimeout()) {
      CommFailed(absl::StrCat(entry.operation.what, ": not done within ", CommTimeout(), " s",
                              entry.asked && SecondsSince(*entry.asked) > kAnswerSeconds
                                  ? ", and the GPU's driver does not answer"
                                  : "",
                              "; another rank hangs, is far behind, or is gone"),
                 entry.activity);
    }
    if (entry.waits || seconds < CommTimeout() / 4) return;
    entry.waits = true;
    ObserveWait(absl::StrCat(entry.activity, ": ", entry.operation.what));
  }

  static double SecondsOf(const Entry& entry) {
    return SecondsSince(entry.running ? *entry.running : *entry.asked);
  }

  static double SecondsSince(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  std::mutex mutex_;
  std::deque<Entry> entries_;
};

}  // namespace

void Watch(WatchedOperation operation) { Watchdog::Get().Add(std::move(operation)); }

struct WatchedCall::Flag {
  std::atomic<bool> done{false};
};

WatchedCall::WatchedCall(std::string what) : flag_(std::make_shared<Flag>()) {
  Watch({std::move(what), [flag = flag_](const std::string&) {
           return flag->done ? WatchedOperation::State::kDone : WatchedOperation::State::kRunning;
         }});
}

WatchedCall::~WatchedCall() { flag_->done = true; }

}  // namespace wyvern
