#include "layers/mixers/gla/gla_mixer.h"

#include <array>
#include <limits>

#include "autograd/ops/linear_attention/gated_linear_attention.h"
#include "autograd/ops/norm/gated_rms_norm.h"
#include "layers/mixers/gla/gla_cache.h"

namespace wyvern {

GlaMixer::GlaMixer(const ModelConfig& model, const GlaMixerConfig& config)
    : config_(config),
      q_proj_(model.hidden_size, config.num_heads * config.key_dim),
      k_proj_(model.hidden_size, config.num_heads * config.key_dim),
      v_proj_(model.hidden_size, config.num_heads * config.value_dim),
      q_conv_(config.num_heads * config.key_dim, config.conv_width),
      k_conv_(config.num_heads * config.key_dim, config.conv_width),
      v_conv_(config.num_heads * config.value_dim, config.conv_width),
      decay_down_(model.hidden_size, config.decay_rank),
      decay_up_(config.decay_rank, config.num_heads * config.key_dim,
                /*bias=*/true),
      output_norm_(config.value_dim, model.norm_eps),
      o_proj_(config.num_heads * config.value_dim, model.hidden_size),
      convolutions_({&q_conv_, &k_conv_, &v_conv_}) {
  AddChild("q_proj", &q_proj_);
  AddChild("k_proj", &k_proj_);
  AddChild("v_proj", &v_proj_);
  AddChild("q_conv", &q_conv_);
  AddChild("k_conv", &k_conv_);
  AddChild("v_conv", &v_conv_);
  AddChild("decay_down", &decay_down_);
  AddChild("decay_up", &decay_up_);
  if (config.output_gate != OutputGate::kNone) {
    gate_proj_ = std::make_unique<Linear>(model.hidden_size, config.num_heads * config.value_dim);
    AddChild("gate_proj", gate_proj_.get());
  }
  AddChild("output_norm", &output_norm_);
  AddChild("o_proj", &o_proj_);
  inputs_ = std::make_unique<LinearGroup>(
      std::vector<const Linear*>{&q_proj_, &k_proj_, &v_proj_, gate_proj_.get(), &decay_down_});
}

std::unique_ptr<MixerCache> GlaMixer::NewCache(int64_t) const {
  return std::make_unique<GlaCache>();
}

Var GlaMixer::Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const {
  CHECK(packing.context == nullptr, "gla: a sequence that is cut over ranks is not served");
  const int64_t T = x.value().dim(0), H = config_.num_heads;
  const int64_t K = config_.key_dim, V = config_.value_dim;
  auto* state = Own<GlaCache>(cache);

  const Var projected = inputs_->Forward(tape, x);
  tape.Discard({x});
  std::array<Var, 3> qkv;
  if (config_.conv_width > 0) {
    qkv = convolutions_.Forward(tape, inputs_->Part(projected, q_proj_, v_proj_), packing,
                                state == nullptr ? nullptr : &state->conv);
  } else {
    qkv = {inputs_->Part(projected, q_proj_), inputs_->Part(projected, k_proj_),
           inputs_->Part(projected, v_proj_)};
  }
  const Var decay = decay_up_.Forward(tape, inputs_->Part(projected, decay_down_));
  const auto mixed = tape.Apply<GatedLinearAttention>(
      {.q = qkv[0].Reshape({T, H, K}),
       .k = qkv[1].Reshape({T, H, K}),
       .v = qkv[2].Reshape({T, H, V}),
       .gate = decay.Reshape({T, H, K}),
       .h0 = state == nullptr ? Var() : Var(state->state)},
      {.cu_seqlens = packing.cu_seqlens,
       .cu_seqlens_host = packing.cu_seqlens_host,
       .decay = LinearDecay::kPerChannel,
       .gate = LinearGate::kLogSigmoid,
       .normalizer = config_.decay_normalizer,
       .min_log_decay = config_.min_log_decay.value_or(-std::numeric_limits<double>::infinity()),
       .output_final_state = state != nullptr});
  if (state != nullptr) Keep(mixed.ht.value(), packing.step, &state->state);
  if (config_.conv_width > 0) tape.Discard({qkv[0], qkv[1], qkv[2]});

  Var gate;
  if (gate_proj_ != nullptr) gate = inputs_->Part(projected, *gate_proj_).Reshape({T, H, V});
  const Var y =
      tape.Apply<GatedRmsNorm>(
              {.x = mixed.o, .gate = gate, .weight = output_norm_.weight()},
              {.eps = output_norm_.eps(),
               .activation = config_.output_gate == OutputGate::kSigmoid ? GateActivation::kSigmoid
                                                                         : GateActivation::kSilu})
          .y;
  const Var out = o_proj_.Forward(tape, y.Reshape({T, H * V}));
  tape.Discard({y});
  tape.Discard({projected});
  return out;
}

}  // namespace wyvern
