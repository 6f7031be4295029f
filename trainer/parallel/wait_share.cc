#include "trainer/parallel/wait_share.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/runtime/clock.h"

namespace wyvern {
namespace {

constexpr double kUnits = 1e6;  // of a share, in integers that travel
constexpr int64_t kMaxRanks = int64_t{1} << 20;

}  // namespace

std::string WaitShares::ToString() const {
  return absl::StrFormat("waited %.1f%% (most %.1f%%, slowest rank %d: %.1f%%)", 100 * own,
                         100 * most, slowest, 100 * least);
}

WaitMeter::WaitMeter(World* world)
    : world_(world), begin_(MonotonicSeconds()), waited_(CommWaitSeconds()) {}

WaitShares WaitMeter::Next() {
  const double now = MonotonicSeconds(), waited = CommWaitSeconds();
  WaitShares shares;
  shares.own = std::clamp((waited - waited_) / std::max(now - begin_, 1e-9), 0.0, 1.0);
  begin_ = now;
  waited_ = waited;
  const int64_t own = std::llround(shares.own * kUnits);
  // The largest, and with the smallest its rank, in one maximum.
  int64_t both[2] = {own, -(own * kMaxRanks + world_->rank())};
  world_->host().AllReduce(both, both, 2, DType::kInt64, ReduceOp::kMax);
  shares.most = static_cast<double>(both[0]) / kUnits;
  shares.least = static_cast<double>(-both[1] / kMaxRanks) / kUnits;
  shares.slowest = static_cast<int>(-both[1] % kMaxRanks);
  return shares;
}

}  // namespace wyvern
