#include "layers/mixers/mamba2/mamba2_mixer.h"

#include <limits>

#include "autograd/ops/conv/short_conv.h"
#include "autograd/ops/linear_attention/gated_linear_attention.h"
#include "autograd/ops/linear_attention/mamba_inputs.h"
#include "autograd/ops/linear_attention/mamba_output.h"
#include "layers/mixers/mamba2/mamba2_cache.h"

namespace wyvern {

Mamba2Mixer::Mamba2Mixer(const ModelConfig& model, const Mamba2MixerConfig& config)
    : config_(config),
      norm_eps_(model.norm_eps),
      gate_proj_(model.hidden_size, config.num_heads * config.head_dim, config.bias),
      v_proj_(model.hidden_size, config.num_heads * config.head_dim, config.bias),
      k_proj_(model.hidden_size, config.num_groups * config.state_dim, config.bias),
      q_proj_(model.hidden_size, config.num_groups * config.state_dim, config.bias),
      dt_proj_(model.hidden_size, config.num_heads, config.bias),
      o_proj_(config.num_heads * config.head_dim, model.hidden_size, config.bias),
      inputs_({&gate_proj_, &v_proj_, &k_proj_, &q_proj_, &dt_proj_}) {
  const int64_t H = config.num_heads, width = H * config.head_dim;
  const int64_t channels = width + 2 * config.num_groups * config.state_dim;
  AddChild("gate_proj", &gate_proj_);
  AddChild("v_proj", &v_proj_);
  AddChild("k_proj", &k_proj_);
  AddChild("q_proj", &q_proj_);
  AddChild("dt_proj", &dt_proj_);
  conv_weight_ = AddParameter("conv.weight", {.shape = {channels, config.conv_width},
                                              .kind = ParameterKind::kConvolution,
                                              .init = InitNormal()});
  if (config.conv_bias) {
    conv_bias_ = AddParameter(
        "conv.bias", {.shape = {channels}, .kind = ParameterKind::kBias, .init = InitConstant(0)});
  }
  a_log_ = AddParameter(
      "a_log", {.shape = {H}, .kind = ParameterKind::kALog, .init = InitLogUniform(1, 16)});
  dt_bias_ =
      AddParameter("dt_bias", {.shape = {H}, .kind = ParameterKind::kDtBias, .init = InitDtBias()});
  skip_ =
      AddParameter("skip", {.shape = {H}, .kind = ParameterKind::kNorm, .init = InitConstant(1)});
  norm_weight_ =
      AddParameter("output_norm.weight",
                   {.shape = {width}, .kind = ParameterKind::kNorm, .init = InitConstant(1)});
  AddChild("o_proj", &o_proj_);
}

std::unique_ptr<MixerCache> Mamba2Mixer::NewCache(int64_t) const {
  return std::make_unique<Mamba2Cache>();
}

Var Mamba2Mixer::Forward(Tape& tape, const Var& x, const Packing& packing,
                         MixerCache* cache) const {
  CHECK(packing.context == nullptr, "mamba2: a sequence that is cut over ranks is not served");
  auto* state = Own<Mamba2Cache>(cache);
  const Var projected = inputs_.Forward(tape, x);
  tape.Discard({x});
  // A convolution over the current token alone carries nothing.
  const bool carry = state != nullptr && config_.conv_width > 1;
  const auto conv = tape.Apply<ShortConv>({.x = inputs_.Part(projected, v_proj_, q_proj_),
                                           .weight = conv_weight_->var,
                                           .initial_state = carry ? Var(state->conv) : Var()},
                                          {.cu_seqlens = packing.cu_seqlens,
                                           .silu = false,
                                           .output_final_state = carry,
                                           .final_state_in_place = carry && packing.step});
  if (carry) Keep(conv.final_state.value(), packing.step, &state->conv);
  const auto in = tape.Apply<MambaInputs>(
      {.conv = conv.y,
       .conv_bias = conv_bias_ == nullptr ? Var() : conv_bias_->var,
       .dt = inputs_.Part(projected, dt_proj_),
       .a_log = a_log_->var,
       .dt_bias = dt_bias_->var},
      {.head_dim = config_.head_dim,
       .num_groups = config_.num_groups,
       .state_dim = config_.state_dim,
       .min_dt = config_.min_dt,
       .max_dt = config_.max_dt.value_or(std::numeric_limits<double>::infinity())});
  const auto mixed =
      tape.Apply<GatedLinearAttention>({.q = in.q,
                                        .k = in.k,
                                        .v = in.v,
                                        .gate = in.g,
                                        .h0 = state == nullptr ? Var() : Var(state->state)},
                                       {.cu_seqlens = packing.cu_seqlens,
                                        .cu_seqlens_host = packing.cu_seqlens_host,
                                        .decay = LinearDecay::kPerHead,
                                        .scale = 1,
                                        .output_final_state = state != nullptr});
  if (state != nullptr) Keep(mixed.ht.value(), packing.step, &state->state);
  const Var y = tape.Apply<MambaOutput>({.o = mixed.o,
                                         .x = in.x,
                                         .gate = inputs_.Part(projected, gate_proj_),
                                         .skip = skip_->var,
                                         .weight = norm_weight_->var},
                                        {.num_groups = config_.num_groups, .eps = norm_eps_})
                    .y;
  const Var out = o_proj_.Forward(tape, y);
  tape.Discard({projected});
  return out;
}

}  // namespace wyvern
