#include "layers/parameter.h"

#include <algorithm>
#include <cmath>

#include "kernels/runtime/random.h"

namespace wyvern {
namespace {

// values[i] = draw(i) for every i, by any number of threads.
template <class F>
void Draw(const Tensor& values, const F& draw) {
  const int64_t n = values.numel();
  const auto fill = [&](auto* to) {
#pragma omp parallel for schedule(static) if (n > 4096)
    for (int64_t i = 0; i < n; ++i) {
      to[i] = static_cast<std::remove_reference_t<decltype(*to)>>(draw(static_cast<uint64_t>(i)));
    }
  };
  if (values.dtype() == DType::kFloat64) {
    fill(values.data<double>());
  } else {
    fill(values.data<float>());
  }
}

// Kept in the activations' type; every other parameter is small and stays in the type of sums.
bool IsLarge(ParameterKind kind) {
  return kind == ParameterKind::kEmbedding || kind == ParameterKind::kMatrix;
}

}  // namespace

void Parameter::SyncValue() const {
  if (master.defined() && master.dtype() != value.dtype()) value.CopyFrom(master);
}

void Parameter::Assign(const Tensor& from) const {
  if (master.defined()) {
    master.CopyFrom(from);
    SyncValue();
  } else {
    value.CopyFrom(from);
  }
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
  specs_.push_back(std::move(spec));
  return own_.back().get();
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
}

void Module::Allocate(Device device, DType compute, bool trainable) {
  const DType master = AccDType(compute);
  Visit([&](Parameter& parameter, const Spec& spec) {
    const DType type = IsLarge(spec.kind) ? compute : master;
    parameter.value = Tensor::Empty(spec.shape, type, device);
    if (type == master) {
      parameter.master = parameter.value;
    } else if (trainable) {
      parameter.master = Tensor::Empty(spec.shape, master, device);
    }
    if (trainable) {
      parameter.grad = Tensor::Zeros(spec.shape, master, device);
      parameter.var = Var::Parameter(parameter.value, parameter.grad);
    } else {
      parameter.var = Var(parameter.value);
    }
  });
}

void Module::Initialize(uint64_t seed) {
  Visit([&](Parameter& parameter, const Spec& spec) {
    const DType drawn = AccDType(parameter.value.dtype());
    const bool in_place = parameter.value.device() == Device::kCpu && parameter.master.defined();
    const Tensor values =
        in_place ? parameter.master : Tensor::Empty(spec.shape, drawn, Device::kCpu);
    spec.init(values, seed, parameter.name);
    if (in_place) {
      parameter.SyncValue();
    } else {
      parameter.Assign(values);
    }
  });
}

Module::Init Module::InitNormal(double stddev) {
  return [stddev](const Tensor& values, uint64_t seed, const std::string& name) {
    const Random random(seed, name);
    Draw(values, [&](uint64_t i) { return stddev * random.Normal(i); });
  };
}

Module::Init Module::InitConstant(double value) {
  return [value](const Tensor& values, uint64_t, const std::string&) {
    Draw(values, [&](uint64_t) { return value; });
  };
}

Module::Init Module::InitLogUniform(double low, double high) {
  return [low, high](const Tensor& values, uint64_t seed, const std::string& name) {
    const Random random(seed, name);
    // 1 - u lies in (0, 1]: with low = 0 the logarithm stays finite.
    Draw(values,
         [&](uint64_t i) { return std::log(low + (high - low) * (1 - random.Uniform(i))); });
  };
}

Module::Init Module::InitDtBias() {
  return [](const Tensor& values, uint64_t seed, const std::string& name) {
    const Random random(seed, name);
    Draw(values, [&](uint64_t i) {
      const double log_low = std::log(0.001), log_high = std::log(0.1);
      const double dt =
          std::max(std::exp(log_low + random.Uniform(i) * (log_high - log_low)), 1e-4);
      return dt + std::log(-std::expm1(-dt));
    });
  };
}

}  // namespace wyvern
