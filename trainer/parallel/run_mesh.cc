#include "trainer/parallel/run_mesh.h"

#include "absl/strings/str_cat.h"
#include "kernels/comm/comm_failure.h"
#include "kernels/runtime/status.h"
#include "trainer/run_model.h"

namespace wyvern {
namespace {

absl::StatusOr<MeshShape> ShapeOf(const RunConfig& config, int64_t num_ranks) {
  ASSIGN_OR_RETURN(const MeshShape shape, ResolveMesh({.replicate = config.parallel.replicate,
                                                       .shard = config.parallel.shard,
                                                       .context = config.parallel.context},
                                                      num_ranks));
  const int64_t readers = shape.replicate * shape.shard;
  if (config.MicroBatchesPerStep() % readers != 0) {
    const int64_t tokens = config.train.micro_batch * config.data.seq_len;
    return absl::InvalidArgumentError(absl::StrCat(
        "train.batch_tokens: ", config.train.batch_tokens, " is no multiple of ", readers,
        shape.context == 1 ? " ranks" : " context groups", " x train.micro_batch x data.seq_len = ",
        readers * tokens, ", so that they cannot divide a batch evenly"));
  }
  return shape;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mesh>> CreateRunMesh(const RunConfig& config, World* world) {
  SetCommTimeout(config.parallel.timeout);
  const absl::StatusOr<MeshShape> shape = ShapeOf(config, world->size());
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
