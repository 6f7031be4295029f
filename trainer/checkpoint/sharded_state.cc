#include "trainer/checkpoint/sharded_state.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Replicas divide the writing of a flat shard only above this size: below it the manifest would
// list more slices than it is worth.
constexpr int64_t kLeastShare = int64_t{1} << 20;

using Range = std::pair<int64_t, int64_t>;

// The parts of every flat shard's elements [first, second) = range_of(number, flat).
template <typename RangeOf>
std::vector<TensorPart> Parts(const Optimizer& optimizer, const RangeOf& range_of) {
  std::vector<TensorPart> masters, states;
  int64_t number = 0;
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    const FlatParameters& flat = *state.flat;
    const Range range = range_of(number++, flat);
    for (const Parameter* p : flat.parameters()) {
      FlatParameters::Slice slice = flat.SliceOf(*p);
      // Elements that other ranks' experts have before these.
      const int64_t before =
          p->first_slice == 0 ? 0 : p->first_slice * (NumElements(p->shape) / p->shape[0]);
      const int64_t shift = std::max<int64_t>(range.first - slice.shard_offset, 0);
      const int64_t size =
          std::min(slice.shard_offset + slice.size(), range.second) - slice.shard_offset - shift;
      slice.begin += shift;
      slice.shard_offset += shift;
      slice.end = slice.begin + std::max<int64_t>(size, 0);
      const auto add = [&](std::vector<TensorPart>* parts, std::string name, const Tensor& shard) {
        parts->push_back({{std::move(name), p->whole_shape, shard.dtype()},
                          before + slice.begin,
                          slice.size() == 0 ? Tensor() : FlatParameters::PartOf(shard, slice)});
      };
      add(&masters, absl::StrCat("model/", p->name), flat.master_shard());
      for (const Optimizer::NamedState& part : optimizer.StatesOf(state, *p)) {
        add(&states, absl::StrCat("optimizer/", p->name, "/", part.name), part.shard);
      }
    }
  }
  masters.insert(masters.end(), states.begin(), states.end());
  return masters;
}

std::set<std::string> TensorNames(const CheckpointInfo& checkpoint) {
  std::set<std::string> names;
  for (const CheckpointTensor& tensor : checkpoint.tensors) names.insert(tensor.name);
  return names;
}

// Adam's first moment is a mean, Muon's momentum a sum: one is not to be taken for the other. Muon
// has no second moment, which tells them apart. `muon`: whether it updates the parameter now.
absl::Status CheckStates(const CheckpointInfo& checkpoint, const std::set<std::string>& names,
                         const std::string& parameter, bool muon) {
  const std::string prefix = absl::StrCat("optimizer/", parameter, "/");
  if (names.count(prefix + "m") == 0) return absl::OkStatus();  // no state: reading says so
  const bool by_muon = names.count(prefix + "v") == 0;
  if (by_muon == muon) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "checkpoint ", checkpoint.path, ": it holds ", by_muon ? "Muon" : "AdamW", "'s state of ",
      parameter, ", which this run updates by ", muon ? "Muon" : "AdamW",
      ": one optimizer's state means nothing to the other; resume with optimizer.type=",
      by_muon ? "muon" : "adamw", ", or start a new run in another run.dir"));
}

absl::Status CheckOptimizer(const CheckpointInfo& checkpoint, const Optimizer& optimizer) {
  const std::set<std::string> names = TensorNames(checkpoint);
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    for (const Parameter* p : state.flat->parameters()) {
      RETURN_IF_ERROR(
          CheckStates(checkpoint, names, p->name, optimizer.StatesOf(state, *p).size() == 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<TensorPart> StateParts(const Optimizer& optimizer) {
  return Parts(optimizer,
               [](int64_t, const FlatParameters& flat) { return Range(0, flat.shard_size()); });
}

std::vector<TensorPart> MasterParts(const Optimizer& optimizer) {
  std::vector<TensorPart> parts = StateParts(optimizer);
  std::erase_if(
      parts, [](const TensorPart& part) { return !absl::StartsWith(part.tensor.name, "model/"); });
  return parts;
}

void RoundMasters(const Optimizer& optimizer) {
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    const FlatParameters& flat = *state.flat;
    if (flat.value_shard().SharesStorageWith(flat.master_shard())) continue;
    for (const Parameter* p : flat.parameters()) {
      const FlatParameters::Slice slice = flat.SliceOf(*p);
      if (slice.size() == 0) continue;
      FlatParameters::PartOf(flat.value_shard(), slice)
          .CopyFrom(FlatParameters::PartOf(flat.master_shard(), slice));
    }
  }
}

std::pair<int64_t, int64_t> ShareOfReplica(int64_t size, int64_t replicas, int64_t replica,
                                           int64_t turn, int64_t least) {
  const int64_t shares = std::clamp<int64_t>(size / least, 1, replicas);
  const int64_t share = ((replica - turn) % replicas + replicas) % replicas;
  if (share >= shares) return {0, 0};
  return {size * share / shares, size * (share + 1) / shares};
}

std::vector<TensorPart> PartsToWrite(const Optimizer& optimizer, const Mesh* mesh) {
  if (mesh == nullptr) return StateParts(optimizer);
  return Parts(optimizer, [&](int64_t number, const FlatParameters& flat) {
    const Communicator& replicas = mesh->ReplicasOf(flat);
    return ShareOfReplica(flat.shard_size(), replicas.size(), replicas.rank(), number, kLeastShare);
  });
}

absl::Status CheckOptimizer(const CheckpointInfo& checkpoint, Model* model,
                            const OptimizerSection& options) {
  const std::set<std::string> names = TensorNames(checkpoint);
  for (const Parameter* p : model->parameters()) {
    RETURN_IF_ERROR(CheckStates(checkpoint, names, p->name, UsesMuon(p->kind, options)));
  }
  return absl::OkStatus();
}

absl::Status ReadState(const CheckpointInfo& checkpoint, const Optimizer& optimizer) {
  RETURN_IF_ERROR(CheckOptimizer(checkpoint, optimizer));
  RETURN_IF_ERROR(ReadCheckpointParts(checkpoint.path, StateParts(optimizer)));
  RoundMasters(optimizer);
  return absl::OkStatus();
}

}  // namespace wyvern
