#include "layers/mixers/attention/attention_mixer.h"

#include "autograd/ops/attention/attention.h"
#include "autograd/ops/attention/rope.h"
#include "autograd/ops/pointwise/sigmoid_gate.h"
#include "autograd/parallel/context_attention.h"
#include "layers/mixers/attention/key_value_cache.h"

namespace wyvern {

AttentionMixer::AttentionMixer(const ModelConfig& model, const AttentionMixerConfig& config)
    : config_(config),
      num_kv_heads_(config.num_kv_heads > 0 ? config.num_kv_heads : config.num_heads),
      head_dim_(config.head_dim > 0 ? config.head_dim : model.hidden_size / config.num_heads),
      q_proj_(model.hidden_size, config.num_heads * head_dim_, config.qkv_bias),
      k_proj_(model.hidden_size, num_kv_heads_ * head_dim_, config.qkv_bias),
      v_proj_(model.hidden_size, num_kv_heads_ * head_dim_, config.qkv_bias),
      o_proj_(config.num_heads * head_dim_, model.hidden_size, config.output_bias),
      qkv_({&q_proj_, &k_proj_, &v_proj_}) {
  AddChild("q_proj", &q_proj_);
  AddChild("k_proj", &k_proj_);
  AddChild("v_proj", &v_proj_);
  if (config.qk_norm) {
    const bool of_token = config.qk_norm_scope == QkNormScope::kToken;
    const auto norm = [&](int64_t num_heads) {
      return std::make_unique<Norm>(of_token ? num_heads * head_dim_ : head_dim_,
                                    config.qk_norm_eps, model.zero_centered_norms);
    };
    q_norm_ = norm(config.num_heads);
    k_norm_ = norm(num_kv_heads_);
    AddChild("q_norm", q_norm_.get());
    AddChild("k_norm", k_norm_.get());
  }
  if (config.output_gate != OutputGate::kNone) {
    gate_proj_ = std::make_unique<Linear>(model.hidden_size, config.num_heads * head_dim_);
    AddChild("gate_proj", gate_proj_.get());
  }
  AddChild("o_proj", &o_proj_);
}

Var AttentionMixer::PrepareHeads(Tape& tape, const Var& x, int64_t num_heads,
                                 const std::unique_ptr<Norm>& norm, const Packing& packing) const {
  const Shape heads = {x.value().dim(0), num_heads, head_dim_};
  const bool of_token = norm != nullptr && config_.qk_norm_scope == QkNormScope::kToken;
  Var y = of_token ? norm->Forward(tape, x).y.Reshape(heads) : x.Reshape(heads);
  if (norm != nullptr && !of_token) y = norm->Forward(tape, y).y;
  if (config_.rope) {
    // Neither the matmul nor the norm reads its output again.
    y = tape.Apply<Rope>({.x = y}, {.positions = packing.positions,
                                    .theta = config_.rope_theta,
                                    .rotary_dim = config_.rotary_dim,
                                    .in_place = true})
            .y;
  }
  return y;
}

std::unique_ptr<MixerCache> AttentionMixer::NewCache(int64_t num_sequences) const {
  return std::make_unique<KeyValueCache>(num_sequences, config_.window);
}

Var AttentionMixer::Forward(Tape& tape, const Var& x, const Packing& packing,
                            MixerCache* cache) const {
  const int64_t T = x.value().dim(0);
  const Var qkv = qkv_.Forward(tape, x);
  if (gate_proj_ == nullptr) tape.Discard({x});
  const auto heads = [&](const Linear& proj, int64_t num_heads, const std::unique_ptr<Norm>& norm) {
    return PrepareHeads(tape, qkv_.Part(qkv, proj), num_heads, norm, packing);
  };
  const Var q = heads(q_proj_, config_.num_heads, q_norm_);
  Var k = heads(k_proj_, num_kv_heads_, k_norm_);
  Var v = qkv_.Part(qkv, v_proj_).Reshape({T, num_kv_heads_, head_dim_});

  Attention::Params params{.cu_seqlens_q = packing.cu_seqlens,
                           .cu_seqlens_q_host = packing.cu_seqlens_host,
                           .window = config_.window,
                           .want_max_logit = TracksMaxLogit(tape),
                           .forward_only = cache != nullptr};
  if (packing.step) {
    KeyValueCache::StepView seen = Own<KeyValueCache>(cache)->AppendStep(k.value(), v.value());
    k = Var(seen.keys);
    v = Var(seen.values);
    params.cu_seqlens_k = seen.ranges.begins;
    params.cu_seqlens_k_host = std::move(seen.ranges.begins_host);
    params.key_ends = seen.ranges.ends;
    params.key_ends_host = std::move(seen.ranges.ends_host);
  } else if (cache != nullptr) {
    KeyValueCache::View seen = Own<KeyValueCache>(cache)->Append(
        k.value().Contiguous(), v.value().Contiguous(), packing.cu_seqlens_host);
    k = Var(seen.keys);
    v = Var(seen.values);
    params.cu_seqlens_k_host = std::move(seen.cu_seqlens);
    params.cu_seqlens_k =
        Tensor::FromVector(params.cu_seqlens_k_host, {packing.num_documents() + 1})
            .To(x.value().device());
  }
  Var o, max_logit;
  if (packing.context == nullptr) {
    const auto out = tape.Apply<Attention>({.q = q, .k = k, .v = v}, params);
    o = out.o, max_logit = out.max_logit;
  } else {
    const auto out = tape.Apply<ContextAttention>({.q = q, .k = k, .v = v},
                                                  {.attention = params, .split = packing.context});
    o = out.o, max_logit = out.max_logit;
  }
  if (params.want_max_logit) RaiseMaxLogit(max_logit.value());
  o = o.Reshape({T, config_.num_heads * head_dim_});
  if (gate_proj_ != nullptr) {
    const Var gate = gate_proj_->Forward(tape, x);
    tape.Discard({x});
    o = tape.Apply<SigmoidGate>({.x = o, .gate = gate}, {}).y;
  }
  return o_proj_.Forward(tape, o);
}

std::vector<QkRows> AttentionMixer::qk_rows() const {
  if (config_.qk_norm) return {};
  const int64_t H = config_.num_heads;
  const bool shared = num_kv_heads_ != H;
  std::vector<QkRows> rows;
  const auto add = [&](const Linear& proj, double exponent) {
    for (Parameter* p : {proj.weight(), proj.bias()}) {
      if (p == nullptr) continue;
      rows.push_back({.parameter = p,
                      .num_heads = H,
                      .head_rows = head_dim_,
                      .begin = 0,
                      .end = head_dim_,
                      .exponent = exponent});
    }
  };
  add(q_proj_, shared ? 1 : 0.5);
  if (!shared) add(k_proj_, 0.5);
  return rows;
}

}  // namespace wyvern
