// Measures the time spent waiting for other ranks, and notices when a wait has lasted too long.
#ifndef WYVERN_KERNELS_COMM_FAILURE_WAIT_CLOCK_H_
#define WYVERN_KERNELS_COMM_FAILURE_WAIT_CLOCK_H_

#include <functional>
#include <string>

#include "kernels/comm/rendezvous/socket.h"

namespace wyvern {

// One operation of the calling thread that waits for peers, from construction on. It counts as
// waiting until its destruction.
class WaitClock {
 public:
  WaitClock();
  ~WaitClock();
  WaitClock(const WaitClock&) = delete;
  WaitClock& operator=(const WaitClock&) = delete;

  // To be called now and then, at NextLook() at the latest. Tells the observer of a long wait
  // (comm_failure.h); ends the process after the time-out. `what` and `peer`: the operation, and
  // whom it waits for.
  void Look(const std::string& what, int peer);
  Deadline NextLook() const { return waits_ ? deadline_ : notice_; }

 private:
  Deadline begin_, notice_, deadline_;
  bool waits_ = false;
};

// Seconds that this process has waited for others since it began: the host in its collectives, and
// the compute stream of the GPU at the results of device collectives, as far as these have run. The
// bytes' own way is part of it, where nothing hides it.
double CommWaitSeconds();

// How the device's part is asked for; set by what makes device groups.
void SetDeviceWaitSeconds(double (*seconds)());

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_FAILURE_WAIT_CLOCK_H_
