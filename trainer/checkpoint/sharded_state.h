// Describes each rank's state as slices of whole tensors, as checkpoints hold it. So a checkpoint
// is the same whatever mesh wrote it, and any other mesh can read it.
#ifndef WYVERN_TRAINER_CHECKPOINT_SHARDED_STATE_H_
#define WYVERN_TRAINER_CHECKPOINT_SHARDED_STATE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "trainer/checkpoint/model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// Master weights ("model/<parameter>") and then optimizer state ("optimizer/<parameter>/<state>"):
// this rank's slice of every tensor of the model. The parts are views.
std::vector<TensorPart> StateParts(const Optimizer& optimizer);

// Its first part alone.
std::vector<TensorPart> MasterParts(const Optimizer& optimizer);

// Rounds this rank's master weights into its parameters where they differ; after MasterParts'
// tensors were written. What other ranks update is then to be gathered, as after ReadState.
void RoundMasters(const Optimizer& optimizer);

// The slices that this rank is to write: the replicas of a shard (Mesh::ReplicasOf) divide it among
// themselves. `mesh` null: one rank, which writes all.
std::vector<TensorPart> PartsToWrite(const Optimizer& optimizer, const Mesh* mesh);

// Elements [first, second) of a flat shard of `size` elements that replica `replica` of `replicas`
// writes: at least `least` elements, unless that is all. `turn`, the number of the shard, decides
// which replica begins.
std::pair<int64_t, int64_t> ShareOfReplica(int64_t size, int64_t replicas, int64_t replica,
                                           int64_t turn, int64_t least);

// FailedPrecondition where another optimizer than these options say updated a parameter of `model`,
// which need not have memory.
absl::Status CheckOptimizer(const CheckpointInfo& checkpoint, Model* model,
                            const OptimizerSection& options);

// Fills this rank's master weights, optimizer state and parameters from a checkpoint of the same
// model (CheckModel has been called), whatever mesh wrote it. Reads only slices with elements of
// its own; ranks may call it independently. Parameters that are whole on every rank and updated in
// shards are to be gathered afterwards (DataParallel::ValuesChanged). Errors: those of
// ReadCheckpointParts; FailedPrecondition where another optimizer updated a parameter.
absl::Status ReadState(const CheckpointInfo& checkpoint, const Optimizer& optimizer);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_SHARDED_STATE_H_
