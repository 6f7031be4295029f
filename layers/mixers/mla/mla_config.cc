#include "layers/mixers/mla/mla_config.h"

#include "kernels/attention/latent_attention.h"
#include "layers/config_visitor.h"

namespace wyvern {

void MlaMixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads);
  v.Value("q_lora_rank", &q_lora_rank);
  v.Value("kv_lora_rank", &kv_lora_rank);
  v.Value("qk_nope_dim", &qk_nope_dim);
  v.Value("qk_rope_dim", &qk_rope_dim);
  v.Value("value_dim", &value_dim);
  v.Value("latent_norm_eps", &latent_norm_eps);
  v.Value("rope", &rope);
  v.Only(rope, "rope: false",
         [this](ConfigVisitor& only) { only.Value("rope_theta", &rope_theta); });
  v.Enumerated("output_gate", kOutputGateNames, &output_gate);
}

void MlaMixerConfig::Validate(const ModelConfig&, Faults faults) const {
  faults.Positive("num_heads", num_heads, kMaxHeads);
  faults.NotNegative("q_lora_rank", q_lora_rank, "one matrix", kMaxWidth);
  if (kv_lora_rank < 1 || kv_lora_rank > kMaxLatentRank) {
    faults.Add("kv_lora_rank", "expected 1 to ", kMaxLatentRank,
               " (what the decoding kernel serves), got ", kv_lora_rank);
  }
  faults.Positive("qk_nope_dim", qk_nope_dim, kMaxHeadDim);
  if (qk_rope_dim < 1 || qk_rope_dim > kMaxLatentSharedDim) {
    faults.Add("qk_rope_dim", "expected 1 to ", kMaxLatentSharedDim,
               " (what the decoding kernel serves), got ", qk_rope_dim);
  }
  if (qk_nope_dim > 0 && qk_nope_dim <= kMaxHeadDim && qk_rope_dim > 0 &&
      qk_rope_dim <= kMaxLatentSharedDim && QueryDim() > kMaxHeadDim) {
    faults.Add("qk_nope_dim", "expected at most ", kMaxHeadDim,
               " together with qk_rope_dim (what the kernels serve), got ", QueryDim());
  }
  faults.HeadDim("value_dim", value_dim);
  faults.PositiveReal("latent_norm_eps", latent_norm_eps);
  if (rope && qk_rope_dim % 2 != 0) {
    faults.Add("qk_rope_dim", "RoPE needs an even number, got ", qk_rope_dim);
  }
  faults.PositiveReal("rope_theta", rope_theta);
  if (!rope && rope_theta != MlaMixerConfig().rope_theta) {
    faults.Add("rope_theta", rope_theta, " has no effect with rope: false; remove one");
  }
  if (output_gate == OutputGate::kSilu) {
    faults.Add("output_gate", "attention serves none or sigmoid, got silu");
  }
}

}  // namespace wyvern
