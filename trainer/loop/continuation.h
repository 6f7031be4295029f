// Whether a run can go on from a checkpoint with another configuration, as far as it shows before
// any data are opened.
#ifndef WYVERN_TRAINER_LOOP_CONTINUATION_H_
#define WYVERN_TRAINER_LOOP_CONTINUATION_H_

#include "absl/status/status.h"
#include "trainer/checkpoint/read.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// FailedPrecondition, naming the key, where a run of `config` would refuse the checkpoint, which a
// run of `before` wrote: another optimizer, another mixture, or batches that cannot change there.
// Whether folders hold the same data shows only where they are opened. The model is the same.
absl::Status CheckContinuation(const CheckpointInfo& checkpoint, const RunConfig& before,
                               const RunConfig& config);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_CONTINUATION_H_
