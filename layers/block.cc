#include "layers/block.h"

#include "layers/attention_mixer.h"
#include "layers/delta_mixer.h"
#include "layers/mla_mixer.h"

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

Block::Block(const ModelConfig& model, const MixerConfig& mixer)
    : mixer_norm_(model.hidden_size, model.norm_eps),
      mixer_(Mixer::Create(model, mixer)),
      mlp_norm_(model.hidden_size, model.norm_eps),
      mlp_(model) {
  AddChild("mixer_norm", &mixer_norm_);
  AddChild("mixer", mixer_.get());
  AddChild("mlp_norm", &mlp_norm_);
  AddChild("mlp", &mlp_);
}

Stream Block::Forward(Tape& tape, const Stream& x, const Packing& packing,
                      LayerCache* cache) const {
  const auto first = mixer_norm_.Forward(tape, x.update, x.residual);
  const Var residual = x.residual.defined() ? first.sum : x.update;
  const auto second =
      mlp_norm_.Forward(tape, mixer_->Forward(tape, first.y, packing, cache), residual);
  return {.update = mlp_.Forward(tape, second.y), .residual = second.sum};
}

}  // namespace wyvern
