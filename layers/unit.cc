#include "layers/unit.h"

#include <algorithm>
#include <map>

#include "layers/parameter.h"

namespace wyvern {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

Tensor ViewOf(const Tensor& flat, int64_t offset, const Shape& shape) {
  return flat.Rows(offset, offset + NumElements(shape)).Reshape(shape);
}

}  // namespace

void FlatParameters::Allocate(const std::vector<Parameter*>& parameters, DType type, DType master,
                              Device device, bool trainable, const Sharding& sharding) {
  CHECK(0 <= sharding.index && sharding.index < sharding.count, "shard ", sharding.index, " of ",
        sharding.count);
  CHECK(trainable || sharding.count == 1, "a model that is not trained is not sharded");
  parameters_ = parameters;
  sharding_ = sharding;
  if (parameters.empty()) return;
  std::map<const ParameterGroup*, int64_t> groups;
  for (const Parameter* p : parameters) {
    const ParameterGroup* group = p->group.get();
    const auto place = [&](const Shape& shape) {
      const int64_t offset = num_elements_;
      num_elements_ = RoundUp(offset + NumElements(shape), kAlignment);
      return offset;
    };
    if (group == nullptr) {
      offsets_.push_back(place(p->shape));
      continue;
    }
    if (groups.count(group) == 0) groups[group] = place(group->shape);
    const int64_t row = p->shape[0] == 0 ? 0 : NumElements(p->shape) / p->shape[0];
    offsets_.push_back(groups[group] + p->first_row * row);
  }
  num_elements_ = RoundUp(num_elements_, kAlignment * sharding.count);

  const auto shard_of = [&](const Tensor& whole) {
    return whole.Rows(shard_begin(), shard_begin() + shard_size());
  };
  values_ = Tensor::Empty({num_elements_}, type, device);
  if (sharding.values()) {
    values_.Discard();
    value_shard_ = Tensor::Empty({shard_size()}, type, device);
  } else {
    value_shard_ = shard_of(values_);
  }
  if (type == master) {
    master_shard_ = value_shard_;
  } else if (trainable) {
    master_shard_ = Tensor::Empty({shard_size()}, master, device);
  }
  if (trainable) {
    if (sharding.gradients()) {
      gradients_ = Tensor::Empty({num_elements_}, master, device);
      gradients_.Discard();
      gradient_shard_ = Tensor::Zeros({shard_size()}, master, device);
    } else {
      gradients_ = Tensor::Zeros({num_elements_}, master, device);
      gradient_shard_ = shard_of(gradients_);
    }
  }

  for (size_t i = 0; i < parameters.size(); ++i) {
    Parameter& p = *parameters[i];
    ParameterGroup* group = p.group.get();
    const int64_t offset = offsets_[i];
    p.flat = this;
    p.value = ViewOf(values_, offset, p.shape);
    if (master_shard_.defined() && !sharding.masters()) {
      p.master = type == master ? p.value : ViewOf(master_shard_, offset, p.shape);
    }
    if (trainable) p.grad = ViewOf(gradients_, offset, p.shape);
    if (group == nullptr) {
      p.var = trainable ? Var::Parameter(p.value, p.grad) : Var(p.value);
      continue;
    }
    if (!group->value.defined()) {
      group->value = ViewOf(values_, groups[group], group->shape);
      if (trainable) group->grad = ViewOf(gradients_, groups[group], group->shape);
      group->var = trainable ? Var::Parameter(group->value, group->grad) : Var(group->value);
    }
    p.var = group->var.Rows(p.first_row, p.first_row + p.shape[0]);
  }
}

FlatParameters::Slice FlatParameters::SliceOf(const Parameter& parameter) const {
  const int64_t offset = OffsetOf(parameter), size = NumElements(parameter.shape);
  const int64_t begin = std::clamp<int64_t>(shard_begin() - offset, 0, size);
  const int64_t end = std::clamp<int64_t>(shard_begin() + shard_size() - offset, 0, size);
  return {.begin = begin, .end = end, .shard_offset = begin + offset - shard_begin()};
}

int64_t FlatParameters::OffsetOf(const Parameter& parameter) const {
  const auto found = std::find(parameters_.begin(), parameters_.end(), &parameter);
  CHECK(found != parameters_.end(), parameter.name, " lies elsewhere");
  return offsets_[static_cast<size_t>(found - parameters_.begin())];
}

Tensor FlatParameters::PartOf(const Tensor& shard, const Slice& slice) {
  return shard.Rows(slice.shard_offset, slice.shard_offset + slice.size());
}

FlatParameters::Updated FlatParameters::UpdatedOf(const Parameter& parameter) const {
  Updated updated{.slice = SliceOf(parameter)};
  if (updated.slice.size() == 0) return updated;
  updated.master = PartOf(master_shard_, updated.slice);
  if (!value_shard_.SharesStorageWith(master_shard_)) {
    updated.copy = PartOf(value_shard_, updated.slice);
  }
  return updated;
}

void FlatParameters::Assign(const Parameter& parameter, const Tensor& from) const {
  const Tensor exact = from.To(values_.device()).To(master_shard_.dtype());
  CHECK(exact.shape() == parameter.shape, "cannot copy ", ToString(from.shape()), " into ",
        parameter.name, " ", ToString(parameter.shape));
  if (!sharding_.values()) parameter.value.CopyFrom(exact);
  const Slice slice = SliceOf(parameter);
  if (slice.size() == 0) return;
  const Tensor part = exact.Reshape({-1}).Rows(slice.begin, slice.end);
  PartOf(master_shard_, slice).CopyFrom(part);
  if (sharding_.values()) PartOf(value_shard_, slice).CopyFrom(part);
}

std::vector<FlatParameters*> Unit::flats() {
  std::vector<FlatParameters*> all;
  for (FlatParameters* flat : {&large, &small, &experts}) {
    if (!flat->empty()) all.push_back(flat);
  }
  return all;
}

}  // namespace wyvern
