// What each rank has of a run's state, as parts of whole tensors: that is how checkpoints hold it,
// so that one is the same whatever mesh wrote it and can be read on any other.
#ifndef WYVERN_TRAINER_CHECKPOINT_SHARDED_STATE_H_
#define WYVERN_TRAINER_CHECKPOINT_SHARDED_STATE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "trainer/checkpoint/model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// Masters ("model/<parameter>") and then optimizer state ("optimizer/<parameter>/<state>"), every
// tensor of the model, with what this rank has of each. The values are views.
std::vector<TensorPart> StateParts(const Optimizer& optimizer);

// The same with what this rank is to write: ranks that have the same shard (Mesh::CopiesOf) share
// it out. `mesh` null: one rank, which writes all.
std::vector<TensorPart> PartsToWrite(const Optimizer& optimizer, const Mesh* mesh);

// Elements [first, second) of a flat shard of `size` elements that the one of `copies` ranks with
// number `copy` writes: nothing less than `least` elements, unless that is all, and so with turns
// by `turn`, the number of the shard.
std::pair<int64_t, int64_t> ShareOfCopy(int64_t size, int64_t copies, int64_t copy, int64_t turn,
                                        int64_t least);

// Fills what this rank has of masters, optimizer state and values from a checkpoint of the same
// model (CheckModel has been called), whatever mesh wrote it. Reads the slices with elements of it
// alone; ranks may call it on their own. Values that are whole on every rank and divided to be
// updated are to be gathered afterwards (DataParallel::ValuesChanged). Errors: those of
// ReadCheckpointParts; FailedPrecondition where another optimizer updated a parameter.
absl::Status ReadState(const CheckpointInfo& checkpoint, const Optimizer& optimizer);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_SHARDED_STATE_H_
