#ifndef WYVERN_LAYERS_MIXER_CONFIG_H_
#define WYVERN_LAYERS_MIXER_CONFIG_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "layers/faults.h"

namespace wyvern {

class ConfigVisitor;
class Mixer;
struct MixerType;
struct ModelConfig;

// The configuration of a token mixer as a value: one struct of layers/mixers/<name>/. The struct is
// an aggregate with defaults and ==, and has
//
//   const char* TypeName() const;     the row of MixerTypes() that it belongs to
//   void Visit(ConfigVisitor& v);     its keys
//   void Validate(const ModelConfig& model, Faults faults) const;
//   bool HasQkClip() const;           if Mixer::qk_rows can be other than empty: whether it is
//   bool HasPostNorm() const;         if its blocks can be post-norm (layers/block.h): whether they
//   are
class MixerConfig {
 public:
  // The defaults of the first type, so that a map can make one to be assigned to.
  MixerConfig();
  template <class Config>
  requires requires(const Config& config) { config.TypeName(); }
  MixerConfig(Config config)  // NOLINT(google-explicit-constructor)
      : held_(std::make_unique<Held<Config>>(std::move(config))) {}
  MixerConfig(const MixerConfig& other) : held_(other.held_->Copy()) {}
  MixerConfig& operator=(const MixerConfig& other) {
    held_ = other.held_->Copy();
    return *this;
  }

  bool operator==(const MixerConfig& other) const { return held_->Equals(*other.held_); }

  // The struct, if it is a `Config`; else null.
  template <class Config>
  const Config* As() const {
    const auto* held = dynamic_cast<const Held<Config>*>(held_.get());
    return held == nullptr ? nullptr : &held->config;
  }
  template <class Config>
  Config* As() {
    auto* held = dynamic_cast<Held<Config>*>(held_.get());
    return held == nullptr ? nullptr : &held->config;
  }

  const MixerType& type() const;
  void Visit(ConfigVisitor& v) { held_->Visit(v); }
  // Adds every fault; `model` itself may have faults.
  void Validate(const ModelConfig& model, const Faults& faults) const {
    held_->Validate(model, faults);
  }
  // `model` and this configuration must be valid.
  std::unique_ptr<Mixer> Create(const ModelConfig& model) const;
  bool HasQkClip() const { return held_->HasQkClip(); }
  bool HasPostNorm() const { return held_->HasPostNorm(); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual std::unique_ptr<Base> Copy() const = 0;
    virtual bool Equals(const Base& other) const = 0;
    virtual const char* TypeName() const = 0;
    virtual void Visit(ConfigVisitor& v) = 0;
    virtual void Validate(const ModelConfig& model, const Faults& faults) const = 0;
    virtual bool HasQkClip() const = 0;
    virtual bool HasPostNorm() const = 0;
  };
  template <class Config>
  struct Held;

  std::unique_ptr<Base> held_;
};

// A row of the table of mixers.
struct MixerType {
  std::string name;         // "kda", as `type` in configuration files
  std::string description;  // one sentence
  MixerConfig defaults;
  bool context_parallel = true;  // serves sequences that are cut over ranks (Packing::context)
  // Makes a mixer from a configuration of this type.
  std::function<std::unique_ptr<Mixer>(const ModelConfig& model, const MixerConfig& config)> create;
};

// Every type; the rows are in layers/mixers/registry.cc.
const std::vector<MixerType>& MixerTypes();
// In the order of MixerTypes().
std::vector<std::string> MixerTypeNames();

template <class Config>
struct MixerConfig::Held : Base {
  explicit Held(Config value) : config(std::move(value)) {}

  std::unique_ptr<Base> Copy() const override { return std::make_unique<Held>(config); }
  bool Equals(const Base& other) const override {
    const auto* held = dynamic_cast<const Held*>(&other);
    return held != nullptr && held->config == config;
  }
  const char* TypeName() const override { return config.TypeName(); }
  void Visit(ConfigVisitor& v) override { config.Visit(v); }
  void Validate(const ModelConfig& model, const Faults& faults) const override {
    config.Validate(model, faults);
  }
  bool HasQkClip() const override {
    if constexpr (requires { config.HasQkClip(); }) return config.HasQkClip();
    return false;
  }
  bool HasPostNorm() const override {
    if constexpr (requires { config.HasPostNorm(); }) return config.HasPostNorm();
    return false;
  }

  Config config;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXER_CONFIG_H_
