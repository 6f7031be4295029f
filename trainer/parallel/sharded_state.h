// The state of a sharded model as whole tensors, as checkpoints hold it.
#ifndef WYVERN_TRAINER_PARALLEL_SHARDED_STATE_H_
#define WYVERN_TRAINER_PARALLEL_SHARDED_STATE_H_

#include "trainer/checkpoint_model.h"
#include "trainer/optimizer.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// Masters and optimizer state on the host of rank 0, in TrainingState's `parameters` and
// `optimizer`; empty on the other ranks. All ranks call it. It holds one unit whole on the device
// at a time.
TrainingState GatherState(Model* model, const Optimizer& optimizer, const Mesh& mesh);

// Fills this rank's shards from a checkpoint of the whole model (CheckModel has been called). Reads
// one unit at a time; ranks may call it on their own.
absl::Status ReadShards(const CheckpointInfo& checkpoint, Model* model, const Optimizer& optimizer);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_SHARDED_STATE_H_
