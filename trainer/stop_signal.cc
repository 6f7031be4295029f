#include "trainer/stop_signal.h"

#include <csignal>

#include "kernels/comm/comm_failure.h"

namespace wyvern {
namespace {

volatile std::sig_atomic_t g_received = 0;

extern "C" void HandleStop(int signal) {
  g_received = signal == SIGINT ? SIGINT : SIGTERM;
  if (signal == SIGTERM) NoteTermination();
}

void Install(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  g_received = 0;
  Install(HandleStop, static_cast<int>(SA_RESETHAND) | SA_RESTART);
}

StopSignal::~StopSignal() { Install(SIG_DFL, 0); }

int StopSignal::Received() { return g_received; }

}  // namespace wyvern
