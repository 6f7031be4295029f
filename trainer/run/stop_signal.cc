#include "trainer/run/stop_signal.h"

#include <csignal>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"

namespace wyvern {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

volatile std::sig_atomic_t g_received = 0;

#if defined(__SANITIZE_THREAD__)
#define WYVERN_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WYVERN_THREAD_SANITIZER 1
#endif
#endif

// Whether the program was started with SIGHUP ignored.
bool g_hang_up_ignored = false;

bool IsHangUpIgnored() {
  struct sigaction now = {};
  return sigaction(SIGHUP, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

#ifndef WYVERN_THREAD_SANITIZER  // whose runtime is not there so early
void NoteIgnoredHangUp() { g_hang_up_ignored = IsHangUpIgnored(); }

// The loader calls it before any library's constructor.
__attribute__((section(".preinit_array"),
               used)) void (*const kNoteIgnoredHangUp)() = NoteIgnoredHangUp;
#endif

extern "C" void HandleStop(int signal) {
  g_received = signal;
  if (signal == SIGTERM) NoteTermination();
}

void Install(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  for (const int signal : kSignals) {
    if (signal != SIGHUP || !IsHangUpIgnored()) sigaction(signal, &action, nullptr);
  }
}

}  // namespace

StopSignal::StopSignal() {
  g_received = 0;
  Install(HandleStop, static_cast<int>(SA_RESETHAND) | SA_RESTART);
}

StopSignal::~StopSignal() { Install(SIG_DFL, 0); }

void KeepHangUpIgnored() {
  if (g_hang_up_ignored) std::signal(SIGHUP, SIG_IGN);
}

int StopSignal::Received() { return g_received; }

std::string SignalName(int signal) {
  switch (signal) {
    case SIGTERM:
      return "SIGTERM";
    case SIGINT:
      return "SIGINT";
    case SIGHUP:
      return "SIGHUP";
    case SIGUSR1:
      return "SIGUSR1";
    default:
      return absl::StrCat("signal ", signal);
  }
}

int StoppedExitCode(int signal, int num_ranks) {
  return signal == 0 || signal == SIGUSR1 || num_ranks > 1 ? 0 : 128 + signal;
}

bool IsStoppedExitCode(int code) {
  return code == 128 + SIGTERM || code == 128 + SIGINT || code == 128 + SIGHUP;
}

}  // namespace wyvern
