#include "trainer/parallel/wait_share.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/runtime/clock.h"

namespace wyvern {
std::string WaitShares::ToString() const {
  return absl::StrFormat("waited %.1f%% (most %.1f%%, slowest rank %d: %.1f%%)", 100 * own,
                         100 * most, slowest, 100 * least);
}

WaitMeter::WaitMeter() : begin_(MonotonicSeconds()), waited_(CommWaitSeconds()) {}

double WaitMeter::Next() {
  const double now = MonotonicSeconds(), waited = CommWaitSeconds();
  const double share = std::clamp((waited - waited_) / std::max(now - begin_, 1e-9), 0.0, 1.0);
  begin_ = now;
  waited_ = waited;
  return share;
}

}  // namespace wyvern
