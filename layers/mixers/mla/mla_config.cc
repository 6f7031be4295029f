#include "layers/mixers/mla/mla_config.h"

#include "kernels/attention/latent_attention.h"
#include "layers/config_visitor.h"

namespace wyvern {

void MlaMixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads, {"Attention heads.", "[1, 16384]"});
  v.Value("q_lora_rank", &q_lora_rank,
          {"Rank of the low-rank projection to the queries, with a norm in its middle; 0: one full "
           "matrix.",
           "[0, 262144]"});
  v.Value("kv_lora_rank", &kv_lora_rank,
          {"Dimension of the latent vector of a token, from which all keys and values come.",
           "[1, 512]"});
  v.Value("qk_nope_dim", &qk_nope_dim,
          {"Dimension of the part of a query and key head that has no positions; at most 256 with "
           "qk_rope_dim.",
           "[1, 256]"});
  v.Value("qk_rope_dim", &qk_rope_dim,
          {"Dimension of the other part, whose keys all heads share; even with RoPE.", "[1, 128]"});
  v.Value("value_dim", &value_dim, {"Dimension of a value head.", "[1, 256]"});
  v.Value("latent_norm_eps", &latent_norm_eps,
          {"Epsilon of the norms of the latent vectors.", "(0, inf)"});
  v.Value("rope", &rope,
          "Whether the shared part is rotated by its position (RoPE); false: no positions (NoPE).");
  v.Only(rope, "rope: false", [this](ConfigVisitor& only) {
    only.Value("rope_theta", &rope_theta,
               {"Base of the rotation frequencies of RoPE.", "(0, inf)"});
  });
  v.Enumerated("output_gate", kOutputGateNames, &output_gate,
               "Activation of the gate before the output projection: none or sigmoid.");
  v.Only(output_gate != OutputGate::kNone, "output_gate: none", [this](ConfigVisitor& only) {
    only.Enumerated("output_gate_scope", {"channel", "head"}, &output_gate_scope,
                    "What one number of the gate scales: a channel, or a head.");
  });
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
  if (output_gate_scope != OutputGateScope::kChannel && output_gate == OutputGate::kNone) {
    faults.Add("output_gate_scope", "head has no effect with output_gate: none; remove one");
  }
  if (output_gate == OutputGate::kSilu) {
    faults.Add("output_gate", "attention serves none or sigmoid, got silu");
  }
}

}  // namespace wyvern
