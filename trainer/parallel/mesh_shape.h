#ifndef WYVERN_TRAINER_PARALLEL_MESH_SHAPE_H_
#define WYVERN_TRAINER_PARALLEL_MESH_SHAPE_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace wyvern {

// Sizes of the axes; -1, at one axis, stands for what the others leave of the ranks.
struct MeshShape {
  int64_t replicate = -1;  // replicas of what a shard group has
  int64_t shard = 1;       // ranks that divide parameters among themselves
  int64_t context = 1;     // ranks that divide a sequence among themselves
  // Ranks of an EP group, which holds a partition of each layer's experts. It divides the number of
  // ranks, and reuses the data-parallel ranks: it does not multiply the world size.
  int64_t expert = 1;

  int64_t num_ranks() const { return replicate * shard * context; }
  bool operator==(const MeshShape&) const = default;
};

// The shape with no -1. InvalidArgument, naming the numbers, if it does not fit `num_ranks`.
absl::StatusOr<MeshShape> ResolveMesh(const MeshShape& wanted, int64_t num_ranks);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_MESH_SHAPE_H_
