#include "kernels/comm/failure/comm_failure.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// For the streams, the observer and the abort: pipes, file systems and mpirun may hang.
constexpr auto kLastWords = std::chrono::seconds(10);

struct State {
  std::mutex mutex;
  std::string identity, activity, phase;
  std::atomic<double> timeout_seconds{600};
  std::atomic<void (*)()> abort{nullptr};
  std::mutex observer_mutex;
  CommObserver* observer = nullptr;
  std::atomic<bool> failing{false};
};

State& TheState() {
  static State* state = new State;  // threads that fail at exit may still read it
  return *state;
}

volatile std::sig_atomic_t g_terminated = 0;

std::string Message(const std::string& what, const std::string& activity) {
  std::string message;
  {
    const std::lock_guard<std::mutex> lock(TheState().mutex);
    if (!TheState().identity.empty()) absl::StrAppend(&message, TheState().identity, ": ");
  }
  if (!activity.empty()) absl::StrAppend(&message, activity, ": ");
  return absl::StrCat(message, what);
}

void Print(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "wyvern: %s\n", message.c_str());
  std::fflush(stderr);
}

}  // namespace

void SetCommTimeout(double seconds) { TheState().timeout_seconds = seconds; }

double CommTimeout() { return TheState().timeout_seconds; }

void SetCommActivity(std::string activity) {
  const std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().activity = std::move(activity);
  TheState().phase.clear();
}

void SetCommPhase(std::string phase) {
  const std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().phase = std::move(phase);
}

std::string CommActivity() {
  State& state = TheState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  const bool both = !state.activity.empty() && !state.phase.empty();
  return absl::StrCat(state.activity, both ? ", " : "", state.phase);
}

void SetCommIdentity(std::string identity) {
  const std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().identity = std::move(identity);
}

void SetCommAbort(void (*abort)()) { TheState().abort = abort; }

void SetCommObserver(CommObserver* observer) {
  const std::lock_guard<std::mutex> lock(TheState().observer_mutex);
  TheState().observer = observer;
}

void ObserveWait(const std::string& what) {
  const std::lock_guard<std::mutex> lock(TheState().observer_mutex);
  if (TheState().observer != nullptr) TheState().observer->Waits(what);
}

void ObserveEndOfWait(double seconds) {
  const std::lock_guard<std::mutex> lock(TheState().observer_mutex);
  if (TheState().observer != nullptr) TheState().observer->GoesOn(seconds);
}

void CommFailed(const std::string& what, const std::string& activity) {
  State& state = TheState();
  // Another thread may find the same failure: it waits for the end.
  if (state.failing.exchange(true)) {
    for (;;) pause();
  }
  std::thread([] {
    std::this_thread::sleep_for(kLastWords);
    std::_Exit(1);
  }).detach();
  const std::string message = Message(what, activity);
  Print(message);
  {
    const std::lock_guard<std::mutex> lock(state.observer_mutex);
    const std::string more = state.observer == nullptr ? "" : state.observer->Fails(message);
    if (!more.empty()) Print(more);
  }
  if (void (*abort)() = state.abort) abort();
  std::_Exit(1);
}

void CommWarning(const std::string& what) {
  const std::string message = Message(what, CommActivity());
  Print(message);
  const std::lock_guard<std::mutex> lock(TheState().observer_mutex);
  if (TheState().observer != nullptr) TheState().observer->Warns(message);
}

void NoteTermination() { g_terminated = 1; }

bool TerminationNoted() { return g_terminated != 0; }

}  // namespace wyvern
