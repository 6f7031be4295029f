#include "kernels/comm/watchdog.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "kernels/comm/comm_failure.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPeriod = std::chrono::milliseconds(50);

class Watchdog {
 public:
  static Watchdog& Get() {
    static Watchdog* watchdog = new Watchdog;  // its thread lives as long as the process
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
    bool running = false, waits = false;
    Clock::time_point since;
  };

  Watchdog() {
    std::thread([this] {
      MakeGpuCurrent();
      for (;;) {
        std::this_thread::sleep_for(kPeriod);
        const std::lock_guard<std::mutex> lock(mutex_);
        Look();
      }
    }).detach();
  }

  // Later operations run after earlier ones, so the first that is not done is the one to look at.
  void Look() {
    while (!entries_.empty()) {
      Entry& entry = entries_.front();
      const WatchedOperation::State state = entry.operation.poll(entry.activity);
      if (state == WatchedOperation::State::kQueued) return;
      if (state == WatchedOperation::State::kRunning) return Age(&entry);
      if (entry.waits) ObserveEndOfWait(SecondsSince(entry.since));
      entries_.pop_front();
    }
  }

  static void Age(Entry* entry) {
    if (!entry->running) entry->since = Clock::now();
    entry->running = true;
    const double seconds = SecondsSince(entry->since);
    if (seconds > CommTimeout()) {
      CommFailed(absl::StrCat(entry->operation.what, ": not done within ", CommTimeout(),
                              " s; another rank hangs, is far behind, or is gone"),
                 entry->activity);
    }
    if (entry->waits || seconds < CommTimeout() / 4) return;
    entry->waits = true;
    ObserveWait(absl::StrCat(entry->activity, ": ", entry->operation.what));
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
