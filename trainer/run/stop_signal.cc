#include "trainer/run/stop_signal.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"

namespace wyvern {
namespace {

constexpr std::array<int, 4> kSignals = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

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

// The environment of the process, read before a handler may run.
bool g_is_one_of_several = false, g_says = true, g_stderr_is_terminal = false;

// The value of the first of these variables that is set; empty: none is.
std::string FirstVariable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

void ReadRanks() {
  const std::string size = FirstVariable({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE"});
  const std::string rank = FirstVariable({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"});
  g_is_one_of_several = !size.empty() && size != "1";
  g_says = rank.empty() || rank == "0";
  g_stderr_is_terminal = isatty(STDERR_FILENO) != 0;
}

// Only what is safe in a signal handler.
void Put(const char* text) { (void)!write(STDERR_FILENO, text, std::strlen(text)); }

const char* g_advice = "";  // of the newest StopAtOnce

extern "C" void HandleAtOnce(int signal) {
  if (g_says) {
    if (g_stderr_is_terminal) Put("\n");  // behind a line of progress
    Put("wyvern: stopped by ");
    Put(signal == SIGTERM  ? "SIGTERM"
        : signal == SIGINT ? "SIGINT"
        : signal == SIGHUP ? "SIGHUP"
                           : "SIGUSR1");
    Put(", while no step was running; ");
    Put(g_advice);
    Put("\n");
  }
  if (signal != SIGUSR1) _exit(128 + signal);
  _exit(g_is_one_of_several ? 128 + SIGTERM : 0);
}

std::array<struct sigaction, 4> Install(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  std::array<struct sigaction, 4> before = {};
  for (size_t i = 0; i < kSignals.size(); ++i) {
    const bool stays = kSignals[i] == SIGHUP && IsHangUpIgnored();
    sigaction(kSignals[i], stays ? nullptr : &action, &before[i]);
  }
  return before;
}

void PutBack(const std::array<struct sigaction, 4>& before) {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  g_received = 0;
  before_ = Install(HandleStop, static_cast<int>(SA_RESETHAND) | SA_RESTART);
}

StopSignal::~StopSignal() { PutBack(before_); }

StopAtOnce::StopAtOnce(const char* advice) {
  g_advice = advice;
  ReadRanks();
  before_ = Install(HandleAtOnce, 0);
}

StopAtOnce::~StopAtOnce() { PutBack(before_); }

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
