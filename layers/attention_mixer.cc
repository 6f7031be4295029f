#include "layers/attention_mixer.h"

#include "autograd/ops/attention.h"
#include "autograd/ops/rope.h"
#include "autograd/ops/sigmoid_gate.h"

namespace wyvern {

AttentionMixer::AttentionMixer(const ModelConfig& model, const AttentionMixerConfig& config)
    : config_(config),
      num_kv_heads_(config.num_kv_heads > 0 ? config.num_kv_heads : config.num_heads),
      head_dim_(config.head_dim > 0 ? config.head_dim : model.hidden_size / config.num_heads),
      q_proj_(model.hidden_size, config.num_heads * head_dim_, model.initializer_range,
              config.qkv_bias),
      k_proj_(model.hidden_size, num_kv_heads_ * head_dim_, model.initializer_range,
              config.qkv_bias),
      v_proj_(model.hidden_size, num_kv_heads_ * head_dim_, model.initializer_range,
              config.qkv_bias),
      o_proj_(config.num_heads * head_dim_, model.hidden_size, model.initializer_range,
              config.output_bias) {
  AddChild("q_proj", &q_proj_);
  AddChild("k_proj", &k_proj_);
  AddChild("v_proj", &v_proj_);
  if (config.qk_norm) {
    q_norm_ = std::make_unique<Norm>(head_dim_, config.qk_norm_eps);
    k_norm_ = std::make_unique<Norm>(head_dim_, config.qk_norm_eps);
    AddChild("q_norm", q_norm_.get());
    AddChild("k_norm", k_norm_.get());
  }
  if (config.output_gate != OutputGate::kNone) {
    gate_proj_ = std::make_unique<Linear>(model.hidden_size, config.num_heads * head_dim_,
                                          model.initializer_range);
    AddChild("gate_proj", gate_proj_.get());
  }
  AddChild("o_proj", &o_proj_);
}

Var AttentionMixer::PrepareHeads(Tape& tape, const Var& x, int64_t num_heads,
                                 const std::unique_ptr<Norm>& norm, const Packing& packing) const {
  Var y = x.Reshape({x.value().dim(0), num_heads, head_dim_});
  if (norm != nullptr) y = norm->Forward(tape, y).y;
  if (config_.rope) {
    y = tape.Apply<Rope>({.x = y}, {.positions = packing.positions, .theta = config_.rope_theta}).y;
  }
  return y;
}

Var AttentionMixer::Forward(Tape& tape, const Var& x, const Packing& packing,
                            LayerCache* cache) const {
  const int64_t T = x.value().dim(0);
  const Var q = PrepareHeads(tape, q_proj_.Forward(tape, x), config_.num_heads, q_norm_, packing);
  Var k = PrepareHeads(tape, k_proj_.Forward(tape, x), num_kv_heads_, k_norm_, packing);
  Var v = v_proj_.Forward(tape, x).Reshape({T, num_kv_heads_, head_dim_});

  Attention::Params params{.cu_seqlens_q = packing.cu_seqlens,
                           .cu_seqlens_q_host = packing.cu_seqlens_host,
                           .window = config_.window};
  if (cache != nullptr) {
    const KeyValueCache::View seen = cache->attention.Append(k.value(), v.value(), config_.window);
    k = Var(seen.keys);
    v = Var(seen.values);
    params.cu_seqlens_k_host = {0, static_cast<int32_t>(seen.keys.dim(0))};
    params.cu_seqlens_k = Tensor::FromVector(params.cu_seqlens_k_host, {2}).To(x.value().device());
  }
  Var o = tape.Apply<Attention>({.q = q, .k = k, .v = v}, params).o;
  o = o.Reshape({T, config_.num_heads * head_dim_});
  if (gate_proj_ != nullptr) {
    o = tape.Apply<SigmoidGate>({.x = o, .gate = gate_proj_->Forward(tape, x)}, {}).y;
  }
  return o_proj_.Forward(tape, o);
}

}  // namespace wyvern
