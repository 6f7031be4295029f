#include "kernels/comm/comm_failure.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

struct State {
  std::mutex mutex;
  std::string identity, activity;
  std::atomic<double> timeout_seconds{600};
  std::atomic<void (*)()> abort{nullptr};
};

State& TheState() {
  static State* state = new State;  // threads that fail at exit may still read it
  return *state;
}

}  // namespace

void SetCommTimeout(double seconds) { TheState().timeout_seconds = seconds; }

double CommTimeout() { return TheState().timeout_seconds; }

void SetCommActivity(std::string activity) {
  const std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().activity = std::move(activity);
}

void SetCommIdentity(std::string identity) {
  const std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().identity = std::move(identity);
}

void SetCommAbort(void (*abort)()) { TheState().abort = abort; }

void CommFailed(const std::string& what) {
  State& state = TheState();
  std::string message = "wyvern: ";
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (!state.identity.empty()) absl::StrAppend(&message, state.identity, ": ");
    if (!state.activity.empty()) absl::StrAppend(&message, state.activity, ": ");
  }
  std::fflush(stdout);
  std::fprintf(stderr, "%s%s\n", message.c_str(), what.c_str());
  std::fflush(stderr);
  if (void (*abort)() = state.abort) abort();
  std::_Exit(1);
}

}  // namespace wyvern
