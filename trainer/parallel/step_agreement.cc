#include "trainer/parallel/step_agreement.h"

#include <cmath>
#include <vector>

namespace wyvern {
namespace {

constexpr double kUnits = 1e6;  // of a share, in integers that travel
constexpr int64_t kMaxRanks = int64_t{1} << 20;

// The numbers that travel.
enum Field { kTargets, kDataFailed, kLogFailed, kSignal, kBusy, kMost, kLeast, kNumFields };

}  // namespace

StepAgreement::StepAgreement(World* world, int64_t context)
    : world_(world), context_(context), reduction_(world->MakeBackgroundReduction([] {
        std::vector<ReduceOp> ops(kNumFields, ReduceOp::kMax);
        ops[kTargets] = ReduceOp::kSum;
        return ops;
      }())) {}

void StepAgreement::Start(const StepNews& own) {
  num_targets_ = news_.next_targets;
  own_share_ = meter_.Next();
  const int64_t share = std::llround(own_share_ * kUnits);
  std::vector<int64_t> fields(kNumFields);
  fields[kTargets] = own.next_targets;
  fields[kDataFailed] = own.data_failed ? 1 : 0;
  fields[kLogFailed] = own.log_failed ? 1 : 0;
  fields[kSignal] = own.stop_signal;
  fields[kBusy] = own.saver_busy ? 1 : 0;
  fields[kMost] = share;
  // The smallest with its rank.
  fields[kLeast] = -(share * kMaxRanks + world_->rank());
  reduction_->Start(fields);
}

const StepNews& StepAgreement::Finish() {
  const std::vector<int64_t>& fields = reduction_->Finish();
  const int64_t least = -fields[kLeast];
  const int64_t least_share = least / kMaxRanks;
  news_ = {.data_failed = fields[kDataFailed] != 0,
           .next_targets = fields[kTargets] / context_,
           .log_failed = fields[kLogFailed] != 0,
           .stop_signal = static_cast<int>(fields[kSignal]),
           .saver_busy = fields[kBusy] != 0,
           .waits = {.own = own_share_,
                     .most = static_cast<double>(fields[kMost]) / kUnits,
                     .least = static_cast<double>(least_share) / kUnits,
                     .slowest = static_cast<int>(least % kMaxRanks)}};
  return news_;
}

}  // namespace wyvern
