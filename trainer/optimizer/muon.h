#ifndef WYVERN_TRAINER_OPTIMIZER_MUON_H_
#define WYVERN_TRAINER_OPTIMIZER_MUON_H_

#include <cstdint>
#include <vector>

#include "kernels/comm/communicator.h"
#include "layers/parameter.h"
#include "trainer/optimizer/muon_plan.h"

namespace wyvern {

// Muon (kernels/optim/muon.h) over the matrices of a model. Of a flat buffer that is sharded over a
// group (Sharding::group), each rank has its shard of gradients, momenta and master weights. The
// matrices are orthogonalised whole, each by one rank of the group:
//
//   1. every rank updates its shard of the momentum; the slices of each matrix's Nesterov momentum
//      go to the matrix's owner;
//   2. the owner orthogonalises it, in batches of equal shape;
//   3. the slices of the result go back, and every rank updates its shard of the master weights.
//
// This goes in rounds of bounded memory; the exchanges of one round run beside the matmuls of the
// next. Slices travel in the dtype of the matmuls. Where every matrix of a round lies whole in its
// owner's shard, and in a flat buffer that is not sharded, nothing is sent.
class Muon {
 public:
  struct Target {
    Parameter* parameter = nullptr;
    Tensor m;  // [shard_size] of its flat buffer: momenta, in the layout of the master weights
    double weight_decay = 0;
  };

  // The elements of a round, for each rank. A rank holds the slices, arrivals and matrices of up to
  // three rounds.
  static constexpr int64_t kRoundElements = int64_t{32} << 20;

  // The parameters outlive this, and all ranks of a group make it of the same ones.
  explicit Muon(std::vector<Target> targets, int64_t round_elements = kRoundElements);

  struct Update {
    double lr = 0, momentum = 0.95;
    Tensor clip;    // [1] Acc: multiplies the gradients
    Tensor finite;  // [1] int32: where 0, nothing changes
  };
  // Queues the update; all ranks of the group call it.
  void Step(const Update& update) const;

 private:
  // A copy between slices by rank, as they arrive, and whole matrices.
  struct Copy {
    int64_t arrival = 0, matrix = 0, size = 0;  // offsets in the two buffers
  };
  // Matrices of one shape, next to each other.
  struct Batch {
    int64_t offset = 0, count = 0, rows = 0, columns = 0;
  };
  // A matrix's slice on this rank.
  struct Slice {
    const Target* target = nullptr;
    int64_t offset = 0;  // in the parameter's slice on this rank
    int64_t size = 0;
    double scale = 1;
  };
  // Offsets and counts of a round, as this rank sees them.
  struct Round {
    Communicator* shards = nullptr;  // null: nothing is sent
    std::vector<Slice> slices;       // in the order in which they are sent
    std::vector<int64_t> send_counts, receive_counts;
    std::vector<Copy> copies;
    std::vector<Batch> batches;  // of the matrices that are this rank's
    int64_t num_sent = 0, num_owned = 0;
  };
  // A round under way.
  struct Buffers {
    Tensor slices;    // [num_sent] of this rank, then the update of the same elements
    Tensor arrivals;  // [num_owned] slices by rank; undefined without a group
    Tensor matrices;  // [num_owned]
    Pending exchange;
  };

  // Adds the rounds of targets whose flat buffers are sharded alike.
  void AddRounds(const std::vector<const Target*>& targets, int64_t round_elements);
  Round MakeRound(const std::vector<const Target*>& targets, const MuonRound& round) const;
  Buffers Send(const Round& round, const Update& update) const;
  void Orthogonalize(const Round& round, Buffers* buffers) const;
  void Apply(const Round& round, const Update& update, Buffers* buffers) const;

  std::vector<Target> targets_;
  std::vector<Round> local_, exchanged_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_MUON_H_
