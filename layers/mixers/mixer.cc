#include "layers/mixers/mixer.h"

#include "kernels/optim/qk_clip.h"
#include "kernels/runtime/dispatch.h"
#include "layers/mixers/attention/attention_mixer.h"
#include "layers/mixers/delta/delta_mixer.h"
#include "layers/mixers/mla/mla_mixer.h"

namespace wyvern {

std::unique_ptr<Mixer> Mixer::Create(const ModelConfig& model, const MixerConfig& mixer) {
  if (const auto* delta = std::get_if<DeltaMixerConfig>(&mixer)) {
    return std::make_unique<DeltaMixer>(model, *delta);
  }
  if (const auto* mla = std::get_if<MlaMixerConfig>(&mixer)) {
    return std::make_unique<MlaMixer>(model, *mla);
  }
  return std::make_unique<AttentionMixer>(model, std::get<AttentionMixerConfig>(mixer));
}

void Mixer::RaiseMaxLogit(const Tensor& max_logit) const {
  Dispatch(max_logit.device(), max_logit.dtype(), [&](auto tag, auto type) {
    using Acc = AccOf<typename decltype(type)::type>;
    MaxInto(tag, MaxIntoParams<Acc>{.num_elements = max_logit.numel(),
                                    .x = max_logit.data<Acc>(),
                                    .y = max_logit_.data<Acc>(),
                                    .stream = ComputeStream()});
  });
}

}  // namespace wyvern
