#include "trainer/run/run_mesh.h"

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/runtime/status.h"
#include "trainer/config/stages.h"
#include "trainer/run/run_model.h"

namespace wyvern {

absl::StatusOr<MeshShape> RunMeshShape(const RunConfig& config, int64_t num_ranks) {
  ASSIGN_OR_RETURN(const MeshShape shape, ResolveMesh({.replicate = config.parallel.replicate,
                                                       .shard = config.parallel.shard,
                                                       .context = config.parallel.context,
                                                       .expert = config.parallel.expert},
                                                      num_ranks));
  const int64_t readers = shape.replicate * shape.shard;
  for (const Stage& stage : StagesOf(config)) {
    if (stage.MicroBatchesPerStep() % readers == 0) continue;
    const std::string key =
        config.stages.empty() ? "train" : absl::StrCat("stages[", stage.index, "]");
    return absl::InvalidArgumentError(
        absl::StrCat(key, ".batch_tokens: ", stage.batch_tokens, " is no multiple of ", readers,
                     shape.context == 1 ? " ranks" : " context groups", " x ", key,
                     ".micro_batch x ", config.stages.empty() ? "data" : key,
                     ".seq_len = ", readers * stage.micro_batch * stage.seq_len,
                     ", so that they cannot divide a batch evenly"));
  }
  return shape;
}

absl::StatusOr<std::unique_ptr<Mesh>> CreateRunMesh(const RunConfig& config, World* world) {
  SetCommTimeout(config.parallel.timeout);
  const absl::StatusOr<MeshShape> shape = RunMeshShape(config, world->size());
  if (world->size() == 1) {
    RETURN_IF_ERROR(shape.status());
    return nullptr;
  }
  RETURN_IF_ERROR(Agree(world->host(), shape.status()));
  const absl::StatusOr<Device> device = RunDevice(config);
  RETURN_IF_ERROR(Agree(world->host(), device.status()));
  if (*device == Device::kCuda) RETURN_IF_ERROR(world->SelectGpu());
  absl::StatusOr<std::unique_ptr<Mesh>> mesh = Mesh::Create(world, *shape, *device);
  RETURN_IF_ERROR(Agree(world->host(), mesh.status()));
  return mesh;
}

}  // namespace wyvern
