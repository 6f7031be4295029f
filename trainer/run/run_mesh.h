#ifndef WYVERN_TRAINER_RUN_RUN_MESH_H_
#define WYVERN_TRAINER_RUN_RUN_MESH_H_

#include <memory>

#include "absl/status/statusor.h"
#include "trainer/config/run_config.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// The mesh of a resolved configuration on this many ranks. InvalidArgument: its axes or its batch
// do not fit them.
absl::StatusOr<MeshShape> RunMeshShape(const RunConfig& config, int64_t num_ranks);

// The mesh that a resolved configuration asks for, on this process's GPU where it runs on GPUs;
// null for a run of one rank. All ranks call it, before any other use of the device, and it gives
// all the same status. Errors: axes or batch that do not fit the number of ranks, GPUs or NCCL that
// are not there.
absl::StatusOr<std::unique_ptr<Mesh>> CreateRunMesh(const RunConfig& config, World* world);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_MESH_H_
