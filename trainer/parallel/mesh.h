// The ranks of a run as a grid of three axes, and the groups along and across them.
#ifndef WYVERN_TRAINER_PARALLEL_MESH_H_
#define WYVERN_TRAINER_PARALLEL_MESH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/world.h"
#include "layers/unit.h"
#include "trainer/parallel/mesh_shape.h"

namespace wyvern {

// The rank at (r, s, c) is (r * S + s) * C + c: the ranks of a CP group are neighbours, those of a
// shard group near, replicas far apart. EP groups are runs of `expert` consecutive ranks.
class Mesh {
 public:
  // All ranks of the world call this, with the same shape. Buffers of the groups lie on `device`.
  static absl::StatusOr<std::unique_ptr<Mesh>> Create(World* world, const MeshShape& shape,
                                                      Device device);

  const MeshShape& shape() const { return shape_; }
  World& world() const { return *world_; }
  int64_t replicate_index() const { return world_->rank() / (shape_.shard * shape_.context); }
  int64_t shard_index() const { return world_->rank() / shape_.context % shape_.shard; }
  int64_t context_index() const { return world_->rank() % shape_.context; }

  // Data-parallel ranks, which read different samples. The ranks of a CP group count as one.
  int64_t num_data_ranks() const { return shape_.replicate * shape_.shard; }
  int64_t data_index() const { return world_->rank() / shape_.context; }

  // The group along one axis that this rank is in, its rank there being its index.
  Communicator& replicate() const { return *replicate_; }
  Communicator& shard() const { return *shard_; }
  Communicator& context() const { return *context_; }
  // Ranks that are at the same place of their shard groups (replicate x context).
  Communicator& replicas() const { return *replicas_; }
  // Ranks that divide the experts, its rank there being the expert index; null if they do not.
  Communicator* experts() const { return shape_.expert > 1 ? expert_ : nullptr; }
  // Ranks that have the same experts.
  Communicator& expert_replicas() const { return *expert_replicas_; }
  // This rank alone.
  Communicator& self() const { return *self_; }
  // All ranks: losses are summed over them.
  Communicator& all() const { return *all_; }

  // The sharding layout of a model at this ZeRO stage over shard() and experts(). Where the run
  // shards, partitioned experts are sharded too, over all ranks that have the same ones. Their
  // gradients are sharded only where one shard group has all replicas, so that what a shard group
  // sends with every micro batch stays in it.
  ShardingLayout LayoutAt(int stage) const;
  // Ranks that have the same shard of such a model's buffer: gradient shards are summed over them.
  Communicator& ReplicasOf(const FlatParameters& flat) const;

 private:
  Mesh(World* world, const MeshShape& shape) : world_(world), shape_(shape) {}
  absl::StatusOr<Communicator*> Group(Device device, bool replicate, bool shard, bool context,
                                      const std::string& name);
  absl::StatusOr<Communicator*> Group(Device device, const std::vector<int>& ranks,
                                      const std::string& name);

  World* world_;
  MeshShape shape_;
  std::map<std::vector<int>, std::unique_ptr<Communicator>> groups_;  // by their ranks
  Communicator *replicate_ = nullptr, *shard_ = nullptr, *context_ = nullptr, *replicas_ = nullptr,
               *expert_ = nullptr, *expert_replicas_ = nullptr, *self_ = nullptr, *all_ = nullptr;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_MESH_H_
