#include "layers/block.h"

namespace wyvern {

Block::Block(const ModelConfig& model, int64_t index, Communicator* experts)
    : mixer_norm_(model.hidden_size, model.norm_eps),
      mixer_(model.MixerOfLayer(index).Create(model)),
      mlp_norm_(model.hidden_size, model.norm_eps) {
  AddChild("mixer_norm", &mixer_norm_);
  AddChild("mixer", mixer_.get());
  AddChild("mlp_norm", &mlp_norm_);
  if (model.IsMoe(index)) {
    moe_ = std::make_unique<Moe>(model, experts);
    AddChild("moe", moe_.get());
  } else {
    mlp_ = std::make_unique<Mlp>(model);
    AddChild("mlp", mlp_.get());
  }
}

Stream Block::Forward(Tape& tape, const Stream& x, const Packing& packing, MixerCache* cache,
                      double balance_factor) const {
  const auto first = mixer_norm_.Forward(tape, x.update, x.residual);
  const Var residual = x.residual.defined() ? first.sum : x.update;
  const auto second =
      mlp_norm_.Forward(tape, mixer_->Forward(tape, first.y, packing, cache), residual);
  const Var update = moe_ == nullptr ? mlp_->Forward(tape, second.y)
                                     : moe_->Forward(tape, second.y, packing, balance_factor);
  return {.update = update, .residual = second.sum};
}

}  // namespace wyvern
