// Training on a mesh: a unit's parameters are gathered before they are used, and its gradients are
// reduced as soon as they are complete, while the device computes the next unit.
//
//   ZeRO stage 1   parameters whole; after the update each rank's shard goes to the others, unit by
//                  unit, ahead of the next forward. Gradients whole; each rank receives the sum of
//                  its shard.
//   ZeRO stage 2   and the whole gradients of a unit exist around its backward alone.
//   ZeRO stage 3   and its whole parameters around its forward and its backward; those of the next
//                  unit are gathered while this one computes.
//
// Where a shard has replicas, its gradient is then summed over them; a shard group of one
// rank is plain data parallelism by the same code. With several micro batches a step, whole
// gradients stay where they are and are reduced with the last one; at stages 2 and 3 each micro
// batch adds to the shards, and only the last one goes over the replicas. Sums are in fp32.
//
// Experts that are partitioned over an EP group are treated alike over other ranks
// (Mesh::LayoutAt), but their parameters stay whole on their rank.
#ifndef WYVERN_TRAINER_PARALLEL_DATA_PARALLEL_H_
#define WYVERN_TRAINER_PARALLEL_DATA_PARALLEL_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "layers/model.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

class DataParallel : public UnitHooks {
 public:
  // `model` was made with a sharding layout of `mesh`; both outlive this. Sets the model's hooks.
  // Every rank then runs the same forwards and backwards, each on its own tokens.
  DataParallel(Model* model, Mesh* mesh);
  ~DataParallel() override;

  Mesh& mesh() const { return *mesh_; }

  // Before the forward of micro batch `index` of `count`.
  void BeginMicroBatch(int64_t index, int64_t count);
  // After the last backward: what ReducedGradient returns is then the sum over all ranks.
  void FinishGradients();
  // After value shards changed, by an update or otherwise.
  void ValuesChanged();

  // Called with every parameter as soon as this rank's own gradient of it is complete, before it is
  // reduced; of several micro batches with each one's, or their sum so far. Null: no more.
  void ObserveGradients(std::function<void(const Parameter&)> observer) {
    observer_ = std::move(observer);
  }

  // Called after every unit's forward and backward, while the host queues the next one's. Null: no
  // more.
  void BetweenUnits(std::function<void()> work) { between_units_ = std::move(work); }

  // Replaces each of the numbers on the device by its sum over the ranks.
  void SumOverRanks(const Tensor& numbers) const;
  // Replaces each of the numbers by the largest of all ranks.
  void MaxOverRanks(const Tensor& numbers) const;

  void BeforeForward(int unit) override;
  void AfterForward(int unit, bool recording) override;
  void BeforeBackward(int unit) override;
  void AfterBackward(int unit) override;

 private:
  struct Flat {
    FlatParameters* parameters;
    Communicator* shards;    // each has its shard
    Communicator* replicas;  // each has the same
    bool whole = true;       // the parameters, once `gathering` is done
    Pending gathering;
    bool reducing = false;  // whole gradients that are to be freed after `reduction`
    bool add = false;       // and whose own part is then to be added to the shard
    Pending reduction;
  };

  void Gather(int unit);  // starts to
  void WaitForValues(int unit);
  void Release(int unit);
  void StartReduction(Flat* flat);
  void FinishReductions(int unit);
  // The unit whose backward comes after that of `unit`; -1: none.
  int NextInBackward(int unit) const;

  Model* model_;
  Mesh* mesh_;
  int head_;  // the unit that is in use when the forward ends
  std::vector<std::vector<Flat>> units_;
  std::vector<int> in_flight_;  // units whose gradients are being reduced, oldest first
  bool first_ = true, last_ = true;
  std::function<void(const Parameter&)> observer_;
  std::function<void()> between_units_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_DATA_PARALLEL_H_
