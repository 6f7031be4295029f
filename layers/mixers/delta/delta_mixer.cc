#include "layers/mixers/delta/delta_mixer.h"

#include "autograd/ops/norm/gated_rms_norm.h"
#include "autograd/parallel/context_delta_rule.h"
#include "layers/mixers/delta/delta_cache.h"

namespace wyvern {
namespace {

// Rows of so many bf16 are whole vectors of 16 bytes, which cuBLAS's fast kernels ask for.
constexpr int64_t kAlignedColumns = 8;

}  // namespace

DeltaMixer::DeltaMixer(const ModelConfig& model, const DeltaMixerConfig& config)
    : config_(config),
      num_value_heads_(config.num_value_heads > 0 ? config.num_value_heads : config.num_heads),
      q_proj_(model.hidden_size, config.num_heads * config.key_dim),
      k_proj_(model.hidden_size, config.num_heads * config.key_dim),
      v_proj_(model.hidden_size, num_value_heads_ * config.value_dim),
      q_conv_(config.num_heads * config.key_dim, config.conv_width),
      k_conv_(config.num_heads * config.key_dim, config.conv_width),
      v_conv_(num_value_heads_ * config.value_dim, config.conv_width),
      output_norm_(config.value_dim, config.output_norm_eps.value_or(model.norm_eps)),
      o_proj_(num_value_heads_ * config.value_dim, model.hidden_size),
      convolutions_({&q_conv_, &k_conv_, &v_conv_}) {
  const int64_t D = model.hidden_size, HV = num_value_heads_, K = config.key_dim;
  AddChild("q_proj", &q_proj_);
  AddChild("k_proj", &k_proj_);
  AddChild("v_proj", &v_proj_);
  AddChild("q_conv", &q_conv_);
  AddChild("k_conv", &k_conv_);
  AddChild("v_conv", &v_conv_);
  const auto add = [&](const char* name, std::unique_ptr<Linear>* linear, int64_t in, int64_t out,
                       bool bias = false) {
    *linear = std::make_unique<Linear>(in, out, bias);
    AddChild(name, linear->get());
  };
  if (config.learned_beta) add("beta_proj", &beta_proj_, D, HV);
  if (config.decay == DeltaDecay::kPerHead) {
    add("decay_proj", &decay_proj_, D, HV);
    a_log_ = AddParameter(
        "a_log", {.shape = {HV}, .kind = ParameterKind::kALog, .init = InitLogUniform(0, 16)});
    dt_bias_ = AddParameter("dt_bias",
                            {.shape = {HV}, .kind = ParameterKind::kDtBias, .init = InitDtBias()});
  } else if (config.decay == DeltaDecay::kPerChannel) {
    if (config.decay_rank == DeltaMixerConfig::kFullRank) {
      add("decay_proj", &decay_proj_, D, HV * K);
    } else {
      const int64_t rank = config.decay_rank > 0 ? config.decay_rank : config.value_dim;
      add("decay_down", &decay_proj_, D, rank);
      add("decay_up", &decay_up_, rank, HV * K);
    }
    const bool bounded = config.gate_lower_bound.has_value();
    a_log_ = AddParameter("a_log", {.shape = {HV},
                                    .kind = ParameterKind::kALog,
                                    .init = bounded ? InitConstant(0) : InitLogUniform(1, 16)});
    dt_bias_ = AddParameter(
        "dt_bias", {.shape = {HV, K}, .kind = ParameterKind::kDtBias, .init = InitDtBias()});
  }
  if (config.output_gate != OutputGate::kNone) {
    const int64_t rank = config.output_gate_rank, width = HV * config.value_dim;
    if (rank > 0) {
      add("gate_down", &gate_proj_, D, rank);
      add("gate_up", &gate_up_, rank, width, config.output_gate_bias);
    } else {
      add("gate_proj", &gate_proj_, D, width);
    }
  }
  AddChild("output_norm", &output_norm_);
  AddChild("o_proj", &o_proj_);
  const bool decay_of_heads = config.decay == DeltaDecay::kPerHead;
  std::vector<const Linear*> wide = {&q_proj_, &k_proj_, &v_proj_, gate_proj_.get(),
                                     decay_of_heads ? nullptr : decay_proj_.get()};
  const std::vector<const Linear*> narrow = {decay_of_heads ? decay_proj_.get() : nullptr,
                                             beta_proj_.get()};
  if (LinearGroup::Width(narrow) % kAlignedColumns == 0) {
    // Last, so that the others begin at aligned columns.
    wide.insert(wide.end(), narrow.begin(), narrow.end());
  } else {
    heads_ = std::make_unique<LinearGroup>(narrow);
  }
  inputs_ = std::make_unique<LinearGroup>(wide);
}

std::unique_ptr<MixerCache> DeltaMixer::NewCache(int64_t) const {
  return std::make_unique<DeltaCache>();
}

Var DeltaMixer::Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const {
  const int64_t T = x.value().dim(0), H = config_.num_heads, HV = num_value_heads_;
  const int64_t K = config_.key_dim, V = config_.value_dim;
  auto* state = Own<DeltaCache>(cache);

  const Var projected = inputs_->Forward(tape, x);
  const Var of_heads = heads_ == nullptr ? Var() : heads_->Forward(tape, x);
  tape.Discard({x});
  // The part of `first`, and `second` of it if there is one.
  const auto project = [&](const std::unique_ptr<Linear>& first,
                           const std::unique_ptr<Linear>& second) {
    if (first == nullptr) return Var();
    const Var y =
        inputs_->Has(*first) ? inputs_->Part(projected, *first) : heads_->Part(of_heads, *first);
    return second == nullptr ? y : second->Forward(tape, y);
  };
  const auto [q, k, v] = convolutions_.Forward(tape, inputs_->Part(projected, q_proj_, v_proj_),
                                               packing, state == nullptr ? nullptr : &state->conv);
  const Var beta = project(beta_proj_, nullptr);
  Var decay = project(decay_proj_, decay_up_);
  if (config_.decay == DeltaDecay::kPerChannel) decay = decay.Reshape({T, HV, K});

  GatedDeltaRule::Params params{.cu_seqlens = packing.cu_seqlens,
                                .cu_seqlens_host = packing.cu_seqlens_host,
                                .decay = config_.decay,
                                .gate = config_.decay == DeltaDecay::kNone ? DeltaGate::kLogDecay
                                        : config_.gate_lower_bound.has_value()
                                            ? DeltaGate::kBounded
                                            : DeltaGate::kSoftplus,
                                .lower_bound = config_.gate_lower_bound.value_or(-5),
                                .beta = !config_.learned_beta          ? DeltaBeta::kGiven
                                        : config_.negative_eigenvalues ? DeltaBeta::kTwiceSigmoid
                                                                       : DeltaBeta::kSigmoid,
                                .l2_norm_eps = config_.l2_norm_eps,
                                .output_final_state = state != nullptr,
                                .final_state_in_place = packing.step};
  const GatedDeltaRule::Inputs<Var> in = {.q = q.Reshape({T, H, K}),
                                          .k = k.Reshape({T, H, K}),
                                          .v = v.Reshape({T, HV, V}),
                                          .beta = beta,
                                          .gate = decay,
                                          .a_log = a_log_ == nullptr ? Var() : a_log_->var,
                                          .dt_bias = dt_bias_ == nullptr ? Var() : dt_bias_->var,
                                          .h0 = state == nullptr ? Var() : Var(state->state)};
  GatedDeltaRule::Outputs<Var> mixed;
  if (packing.context != nullptr) {
    mixed.o = tape.Apply<ContextDeltaRule>({.q = in.q,
                                            .k = in.k,
                                            .v = in.v,
                                            .beta = in.beta,
                                            .gate = in.gate,
                                            .a_log = in.a_log,
                                            .dt_bias = in.dt_bias},
                                           {.rule = params, .split = packing.context})
                  .o;
  } else {
    mixed = tape.Apply<GatedDeltaRule>(in, params);
  }
  if (state != nullptr) Keep(mixed.ht.value(), packing.step, &state->state);
  tape.Discard({q, k, v});

  Var gate = project(gate_proj_, gate_up_);
  if (gate.defined()) gate = gate.Reshape({T, HV, V});
  const Var y =
      tape.Apply<GatedRmsNorm>(
              {.x = mixed.o, .gate = gate, .weight = output_norm_.weight()},
              {.eps = output_norm_.eps(),
               .activation = config_.output_gate == OutputGate::kSigmoid ? GateActivation::kSigmoid
                                                                         : GateActivation::kSilu})
          .y;
  const Var out = o_proj_.Forward(tape, y.Reshape({T, HV * V}));
  tape.Discard({y});
  tape.Discard({projected});
  if (heads_ != nullptr) tape.Discard({of_heads});
  return out;
}

}  // namespace wyvern
