#ifndef WYVERN_TRAINER_PARALLEL_DEVICE_BATCH_H_
#define WYVERN_TRAINER_PARALLEL_DEVICE_BATCH_H_

#include "data/sampling/batch.h"
#include "layers/packing.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// This rank's part of a batch, as a model takes it.
struct DeviceBatch {
  int64_t begin = 0;    // its first token in the batch
  Tensor ids, targets;  // [T] int32
  Packing packing;

  int64_t num_tokens() const { return packing.num_tokens(); }
};

// All of the batch, or with a mesh the part of this rank among those of its CP group, which
// all call this with the same batch. The mesh outlives the result.
DeviceBatch Upload(const Batch& batch, Device device, const Mesh* mesh = nullptr);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_DEVICE_BATCH_H_
