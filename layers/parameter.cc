#include "layers/parameter.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/pointwise/draw.h"
#include "kernels/runtime/dispatch.h"
#include "layers/unit.h"

namespace wyvern {
namespace {

// values[i] = draw(i) for every i, computed on the host: for parameters that are small.
template <class F>
void Draw(const Tensor& values, const F& draw) {
  const Tensor drawn = Tensor::Empty(values.shape(), DType::kFloat64, Device::kCpu);
  double* to = drawn.data<double>();
  for (int64_t i = 0; i < values.numel(); ++i) to[i] = draw(static_cast<uint64_t>(i));
  values.CopyFrom(drawn);
}

}  // namespace

bool IsLarge(ParameterKind kind) {
  return kind == ParameterKind::kEmbedding || kind == ParameterKind::kMatrix ||
         kind == ParameterKind::kExperts;
}

void Parameter::SyncValue() const {
  CHECK(flat == nullptr || !flat->sharding().masters(), name, " is sharded: assign it");
  if (master.defined() && master.dtype() != value.dtype()) value.CopyFrom(master);
}

void Parameter::ClearGrad() const { (group == nullptr ? var : group->var).ClearGrad(); }

void Parameter::Assign(const Tensor& from) const {
  if (flat != nullptr && flat->sharding().masters()) {
    flat->Assign(*this, from);
  } else if (master.defined()) {
    master.CopyFrom(from);
    SyncValue();
  } else {
    value.CopyFrom(from);
  }
}

std::shared_ptr<ParameterGroup> ParameterGroup::Of(const std::vector<Parameter*>& parameters) {
  auto group = std::make_shared<ParameterGroup>();
  group->shape = parameters.front()->shape;
  group->shape[0] = 0;
  for (Parameter* p : parameters) {
    CHECK(p->group == nullptr && !p->value.defined(), p->name, " has its memory already");
    CHECK(p->kind == parameters.front()->kind &&
              std::equal(p->shape.begin() + 1, p->shape.end(), group->shape.begin() + 1,
                         group->shape.end()),
          p->name, " ", ToString(p->shape), " in a group with ", parameters.front()->name);
    p->group = group;
    p->first_row = group->shape[0];
    group->shape[0] += p->shape[0];
  }
  return group;
}

std::vector<Parameter*> Module::parameters() {
  std::vector<Parameter*> all;
  Visit([&](Parameter& parameter, const Spec&) { all.push_back(&parameter); });
  return all;
}

Parameter* Module::AddParameter(const std::string& name, Spec spec) {
  own_.push_back(std::make_unique<Parameter>());
  own_.back()->name = name;
  own_.back()->kind = spec.kind;
  own_.back()->shape = spec.shape;
  own_.back()->whole_shape = spec.whole_shape.empty() ? spec.shape : spec.whole_shape;
  own_.back()->first_slice = spec.first_slice;
  specs_.push_back(std::move(spec));
  return own_.back().get();
}

std::vector<ModelBuffer*> Module::buffers() {
  std::vector<ModelBuffer*> all;
  for (const auto& buffer : own_buffers_) all.push_back(buffer.get());
  for (Module* child : children_) {
    const std::vector<ModelBuffer*> inner = child->buffers();
    all.insert(all.end(), inner.begin(), inner.end());
  }
  return all;
}

ModelBuffer* Module::AddBuffer(const std::string& name, Shape shape) {
  own_buffers_.push_back(std::make_unique<ModelBuffer>());
  own_buffers_.back()->name = name;
  own_buffers_.back()->shape = std::move(shape);
  return own_buffers_.back().get();
}

void Module::AddChild(const std::string& name, Module* child) {
  child->Prefix(absl::StrCat(name, "."));
  children_.push_back(child);
}

void Module::Visit(const Visitor& visitor) {
  for (size_t i = 0; i < own_.size(); ++i) visitor(*own_[i], specs_[i]);
  for (Module* child : children_) child->Visit(visitor);
}

void Module::Prefix(const std::string& prefix) {
  Visit([&](Parameter& parameter, const Spec&) { parameter.name = prefix + parameter.name; });
  for (ModelBuffer* buffer : buffers()) buffer->name = prefix + buffer->name;
}

void Module::Initialize(const InitContext& context) {
  Visit([&](Parameter& parameter, const Spec& spec) {
    if (parameter.master.defined() && parameter.whole_shape == parameter.shape) {
      spec.init(parameter.master, context, parameter.name);
      parameter.SyncValue();
    } else {
      const Tensor values = Tensor::Empty(parameter.whole_shape, AccDType(parameter.value.dtype()),
                                          parameter.value.device());
      spec.init(values, context, parameter.name);
      const int64_t first = parameter.first_slice;
      parameter.Assign(values.Rows(first, first + parameter.shape[0]));
    }
  });
}

Module::Init Module::InitNormal() {
  return [](const Tensor& values, const InitContext& context, const std::string& name) {
    Dispatch(values.device(), values.dtype(), [&](auto device, auto io) {
      using Acc = AccOf<typename decltype(io)::type>;
      DrawNormal(device, DrawNormalParams<Acc>{.random = Random(context.seed, name),
                                               .stddev = context.initializer_range,
                                               .num_elements = values.numel(),
                                               .values = values.data<Acc>(),
                                               .stream = ComputeStream()});
    });
  };
}

Module::Init Module::InitConstant(double value) {
  return [value](const Tensor& values, const InitContext&, const std::string&) {
    Draw(values, [&](uint64_t) { return value; });
  };
}

Module::Init Module::InitLogUniform(double low, double high) {
  return [low, high](const Tensor& values, const InitContext& context, const std::string& name) {
    const Random random(context.seed, name);
    // 1 - u lies in (0, 1]: with low = 0 the logarithm stays finite.
    Draw(values,
         [&](uint64_t i) { return std::log(low + (high - low) * (1 - random.Uniform(i))); });
  };
}

Module::Init Module::InitDtBias() {
  return [](const Tensor& values, const InitContext& context, const std::string& name) {
    const Random random(context.seed, name);
    Draw(values, [&](uint64_t i) {
      const double log_low = std::log(0.001), log_high = std::log(0.1);
      const double dt =
          std::max(std::exp(log_low + random.Uniform(i) * (log_high - log_low)), 1e-4);
      return dt + std::log(-std::expm1(-dt));
    });
  };
}

}  // namespace wyvern
