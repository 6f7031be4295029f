#include "trainer/parallel/data_parallel.h"

#include "kernels/pointwise/elementwise.h"

namespace wyvern {
namespace {

// Units whose whole gradients wait for their reduction while the next unit's backward runs.
constexpr size_t kMaxInFlight = 1;

Tensor OwnPart(const FlatParameters& flat, const Tensor& whole) {
  return whole.Rows(flat.shard_begin(), flat.shard_begin() + flat.shard_size());
}

}  // namespace

DataParallel::DataParallel(Model* model, Mesh* mesh) : model_(model), mesh_(mesh) {
  const ShardingLayout& layout = model->sharding_layout();
  CHECK(layout.sharding.count == mesh->shape().shard &&
            layout.sharding.index == mesh->shard_index() && layout.experts == mesh->experts(),
        "the model is not divided as the mesh is");
  for (Unit& unit : model->units()) {
    units_.emplace_back();
    for (FlatParameters* flat : unit.flats()) {
      Communicator* group = flat->sharding().group;
      units_.back().push_back({.parameters = flat,
                               .shards = group == nullptr ? &mesh->self() : group,
                               .replicas = &mesh->ReplicasOf(*flat),
                               .whole = !flat->sharding().values()});
    }
  }
  head_ = model->config().tie_embeddings ? 0 : static_cast<int>(units_.size()) - 1;
  model->SetUnitHooks(this);
}

DataParallel::~DataParallel() { model_->SetUnitHooks(nullptr); }

void DataParallel::BeginMicroBatch(int64_t index, int64_t count) {
  while (!in_flight_.empty()) FinishReductions(in_flight_.front());
  first_ = index == 0;
  last_ = index + 1 == count;
}

void DataParallel::SumOverRanks(const Tensor& numbers) const {
  mesh_->all().AllReduce(numbers.raw(), numbers.raw(), numbers.numel(), numbers.dtype()).Wait();
}

void DataParallel::MaxOverRanks(const Tensor& numbers) const {
  mesh_->all()
      .AllReduce(numbers.raw(), numbers.raw(), numbers.numel(), numbers.dtype(), ReduceOp::kMax)
      .Wait();
}

void DataParallel::Gather(int unit) {
  for (Flat& flat : units_[static_cast<size_t>(unit)]) {
    if (flat.whole) continue;
    const FlatParameters& p = *flat.parameters;
    p.values().Restore();
    flat.gathering = flat.shards->AllGather(p.value_shard().raw(), p.values().raw(), p.shard_size(),
                                            p.values().dtype());
    flat.whole = true;
  }
}

void DataParallel::WaitForValues(int unit) {
  Gather(unit);
  for (Flat& flat : units_[static_cast<size_t>(unit)]) flat.gathering.Wait();
}

void DataParallel::Release(int unit) {
  for (Flat& flat : units_[static_cast<size_t>(unit)]) {
    if (!flat.parameters->sharding().values()) continue;
    flat.gathering.Wait();
    flat.parameters->values().Discard();
    flat.whole = false;
  }
}

void DataParallel::BeforeForward(int unit) {
  WaitForValues(unit);
  if (unit + 1 < static_cast<int>(units_.size())) Gather(unit + 1);
}

void DataParallel::AfterForward(int unit, bool recording) {
  // The backward begins in the unit in which the forward ends.
  if (unit != head_ || !recording) Release(unit);
  if (between_units_ != nullptr) between_units_();
}

int DataParallel::NextInBackward(int unit) const {
  return unit == head_ && head_ == 0 ? static_cast<int>(units_.size()) - 1 : unit - 1;
}

void DataParallel::BeforeBackward(int unit) {
  // The gradient of an embedding does not depend on its weights.
  const auto needs_values = [&](int u) { return u > 0 || u == head_; };
  if (needs_values(unit)) WaitForValues(unit);
  const int next = NextInBackward(unit);
  if (next >= 0 && needs_values(next)) Gather(next);
  while (in_flight_.size() > kMaxInFlight) FinishReductions(in_flight_.front());
  for (const Flat& flat : units_[static_cast<size_t>(unit)]) {
    if (!flat.parameters->sharding().gradients()) continue;
    flat.parameters->gradients().Restore();
    for (const Parameter* p : flat.parameters->parameters()) p->ClearGrad();
  }
}

void DataParallel::AfterBackward(int unit) {
  Release(unit);
  std::vector<Flat>& flats = units_[static_cast<size_t>(unit)];
  for (Flat& flat : flats) {
    // Writes the zeros of what no op has written.
    for (const Parameter* p : flat.parameters->parameters()) {
      p->var.grad();
      if (observer_ != nullptr) observer_(*p);
    }
    StartReduction(&flat);
  }
  in_flight_.push_back(unit);
  if (between_units_ != nullptr) between_units_();
}

void DataParallel::StartReduction(Flat* flat) {
  const FlatParameters& p = *flat->parameters;
  Communicator &shards = *flat->shards, &replicas = *flat->replicas;
  const DType dtype = p.gradients().dtype();
  const bool divided = p.sharding().gradients();
  if (!divided && !last_) return;
  flat->reducing = divided;
  flat->add = divided && !first_;
  const Tensor own = divided && first_ ? p.gradient_shard() : OwnPart(p, p.gradients());
  flat->reduction = shards.ReduceScatter(p.gradients().raw(), own.raw(), p.shard_size(), dtype);
  // Both run on the communication stream, one after the other.
  if (last_ && !flat->add && replicas.size() > 1) {
    flat->reduction = replicas.AllReduce(own.raw(), own.raw(), p.shard_size(), dtype);
  }
}

void DataParallel::FinishReductions(int unit) {
  CHECK(!in_flight_.empty() && in_flight_.front() == unit, "gradients are reduced in order");
  in_flight_.erase(in_flight_.begin());
  for (Flat& flat : units_[static_cast<size_t>(unit)]) {
    flat.reduction.Wait();
    if (!flat.reducing) continue;
    const FlatParameters& p = *flat.parameters;
    const Tensor& shard = p.gradient_shard();
    const DType dtype = shard.dtype();
    if (flat.add) {
      const Tensor part = OwnPart(p, p.gradients());
      AddInto(shard.device(), shard.raw(), dtype, part.raw(), dtype, p.shard_size(),
              ComputeStream());
      if (last_ && flat.replicas->size() > 1) {
        flat.reduction = flat.replicas->AllReduce(shard.raw(), shard.raw(), p.shard_size(), dtype);
      }
    }
    p.gradients().Discard();
    flat.reducing = flat.add = false;
  }
}

void DataParallel::FinishGradients() {
  while (!in_flight_.empty()) FinishReductions(in_flight_.front());
  for (std::vector<Flat>& flats : units_) {
    for (Flat& flat : flats) flat.reduction.Wait();
  }
}

void DataParallel::ValuesChanged() {
  for (size_t unit = 0; unit < units_.size(); ++unit) {
    Release(
        static_cast<int>(unit));  // parameters that are not kept are gathered when they are needed
    for (Flat& flat : units_[unit]) {
      const FlatParameters& p = *flat.parameters;
      if (p.sharding().values() || flat.shards->size() == 1) continue;
      flat.gathering = flat.shards->AllGather(p.value_shard().raw(), p.values().raw(),
                                              p.shard_size(), p.values().dtype());
    }
  }
}

}  // namespace wyvern
