#include "kernels/comm/failure/wait_clock.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/host/transport.h"

namespace wyvern {
namespace {

using Clock = std::chrono::steady_clock;

std::atomic<double> host_seconds{0};
std::atomic<double (*)()> device_seconds{nullptr};

double SecondsSince(Deadline begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

WaitClock::WaitClock()
    : begin_(Clock::now()),
      notice_(DeadlineIn(CommTimeout() / 4)),
      deadline_(DeadlineIn(CommTimeout())) {}

WaitClock::~WaitClock() {
  const double seconds = SecondsSince(begin_);
  host_seconds.fetch_add(seconds);
  if (waits_) ObserveEndOfWait(seconds);
}

void WaitClock::Look(const std::string& what, int peer) {
  const Deadline now = Clock::now();
  if (now >= deadline_) PeerFailed(what, peer, TimeoutText());
  if (waits_ || now < notice_) return;
  waits_ = true;
  ObserveWait(absl::StrCat(CommActivity(), ": ", what, ", for rank ", peer));
}

double CommWaitSeconds() {
  double (*device)() = device_seconds;
  return host_seconds + (device == nullptr ? 0 : device());
}

void SetDeviceWaitSeconds(double (*seconds)()) { device_seconds = seconds; }

}  // namespace wyvern
