#include "trainer/parallel/mesh.h"

#include "kernels/runtime/status.h"
#include "layers/parameter.h"

namespace wyvern {

absl::StatusOr<std::unique_ptr<Mesh>> Mesh::Create(World* world, const MeshShape& shape,
                                                   Device device) {
  ASSIGN_OR_RETURN(const MeshShape resolved, ResolveMesh(shape, world->size()));
  std::unique_ptr<Mesh> mesh(new Mesh(world, resolved));
  ASSIGN_OR_RETURN(mesh->all_, mesh->Group(device, true, true, true, "all"));
  ASSIGN_OR_RETURN(mesh->shard_, mesh->Group(device, false, true, false, "shard"));
  ASSIGN_OR_RETURN(mesh->replicate_, mesh->Group(device, true, false, false, "replicate"));
  ASSIGN_OR_RETURN(mesh->context_, mesh->Group(device, false, false, true, "context"));
  ASSIGN_OR_RETURN(mesh->replicas_, mesh->Group(device, true, false, true, "replicas"));
  std::vector<int> experts, same_experts;
  const int64_t E = resolved.expert, own = world->rank();
  for (int64_t rank = 0; rank < world->size(); ++rank) {
    if (rank / E == own / E) experts.push_back(static_cast<int>(rank));
    if (rank % E == own % E) same_experts.push_back(static_cast<int>(rank));
  }
  ASSIGN_OR_RETURN(mesh->expert_, mesh->Group(device, experts, "expert"));
  ASSIGN_OR_RETURN(mesh->expert_replicas_, mesh->Group(device, same_experts, "expert replicas"));
  ASSIGN_OR_RETURN(mesh->self_, mesh->Group(device, {world->rank()}, "self"));
  return mesh;
}

ShardingLayout Mesh::LayoutAt(int stage) const {
  const auto over = [](Communicator& group, int at_stage) {
    return Sharding{.index = group.rank(),
                    .count = group.size(),
                    .stage = at_stage,
                    .group = group.size() > 1 ? &group : nullptr};
  };
  ShardingLayout layout{.sharding = over(shard(), stage), .experts = experts()};
  if (experts() != nullptr && shape_.shard > 1) {
    layout.expert_sharding = over(expert_replicas(), shape_.replicate == 1 && stage > 1 ? 2 : 1);
  }
  return layout;
}

Communicator& Mesh::ReplicasOf(const FlatParameters& flat) const {
  const Parameter& first = *flat.parameters().front();
  if (first.shape == first.whole_shape) return replicas();
  return flat.sharding().masters() ? self() : expert_replicas();
}

absl::StatusOr<Communicator*> Mesh::Group(Device device, bool replicate, bool shard, bool context,
                                          const std::string& name) {
  std::vector<int> ranks;
  for (int64_t rank = 0; rank < world_->size(); ++rank) {
    const bool same_replica = rank / (shape_.shard * shape_.context) == replicate_index();
    const bool same_shard = rank / shape_.context % shape_.shard == shard_index();
    const bool same_context = rank % shape_.context == context_index();
    if ((replicate || same_replica) && (shard || same_shard) && (context || same_context)) {
      ranks.push_back(static_cast<int>(rank));
    }
  }
  return Group(device, ranks, name);
}

absl::StatusOr<Communicator*> Mesh::Group(Device device, const std::vector<int>& ranks,
                                          const std::string& name) {
  // Groups of the same ranks are one; whether they are is the same everywhere.
  std::unique_ptr<Communicator>& group = groups_[ranks];
  if (group == nullptr) {
    ASSIGN_OR_RETURN(group, world_->MakeGroup(device, ranks, name));
  }
  return group.get();
}

}  // namespace wyvern
