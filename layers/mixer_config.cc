#include "layers/mixer_config.h"

#include "kernels/runtime/check.h"
#include "layers/mixer.h"

namespace wyvern {

MixerConfig::MixerConfig() : MixerConfig(MixerTypes().front().defaults) {}

const MixerType& MixerConfig::type() const {
  for (const MixerType& type : MixerTypes()) {
    if (type.name == held_->TypeName()) return type;
  }
  CHECK(false, "no row of MixerTypes() has the name ", held_->TypeName());
  return MixerTypes().front();
}

std::unique_ptr<Mixer> MixerConfig::Create(const ModelConfig& model) const {
  return type().create(model, *this);
}

std::vector<std::string> MixerTypeNames() {
  std::vector<std::string> names;
  for (const MixerType& type : MixerTypes()) names.push_back(type.name);
  return names;
}

}  // namespace wyvern
