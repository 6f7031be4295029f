#include "layers/block.h"

#include "autograd/ops/pointwise/add.h"

namespace wyvern {

Block::Block(const ModelConfig& model, int64_t index, Communicator* experts)
    : post_norm_(model.MixerOfLayer(index).HasPostNorm()),
      mixer_norm_(model.hidden_size, model.norm_eps, model.zero_centered_norms),
      mixer_(model.MixerOfLayer(index).Create(model)),
      mlp_norm_(model.hidden_size, model.norm_eps, model.zero_centered_norms) {
  AddChild("mixer_norm", &mixer_norm_);
  AddChild("mixer", mixer_.get());
  if (!model.mlp) return;
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
  if (post_norm_) return ForwardPostNorm(tape, x, packing, cache, balance_factor);
  const auto first = mixer_norm_.Forward(tape, x.update, x.residual);
  const Var residual = x.residual.defined() ? first.sum : x.update;
  const Var mixed = mixer_->Forward(tape, first.y, packing, cache);
  if (!HasMlp()) return {.update = mixed, .residual = residual};
  const auto second = mlp_norm_.Forward(tape, mixed, residual);
  return {.update = ForwardMlp(tape, second.y, packing, balance_factor), .residual = second.sum};
}

// No norm stands where the stream is read, so its parts are added by themselves.
Stream Block::ForwardPostNorm(Tape& tape, const Stream& x, const Packing& packing,
                              MixerCache* cache, double balance_factor) const {
  const auto sum = [&](const Var& a, const Var& b) {
    return tape.Apply<Add>({.a = a, .b = b}, {}).y;
  };
  const Var first = x.residual.defined() ? sum(x.update, x.residual) : x.update;
  const Var mixed = mixer_norm_.Forward(tape, mixer_->Forward(tape, first, packing, cache)).y;
  if (!HasMlp()) return {.update = mixed, .residual = first};
  const Var second = sum(mixed, first);
  const Var update = mlp_norm_.Forward(tape, ForwardMlp(tape, second, packing, balance_factor)).y;
  return {.update = update, .residual = second};
}

Var Block::ForwardMlp(Tape& tape, const Var& x, const Packing& packing,
                      double balance_factor) const {
  return moe_ == nullptr ? mlp_->Forward(tape, x) : moe_->Forward(tape, x, packing, balance_factor);
}

}  // namespace wyvern
