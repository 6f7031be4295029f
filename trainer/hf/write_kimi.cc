#include "absl/strings/str_cat.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "trainer/hf/kimi_config.h"

namespace wyvern {
namespace {

using Reasons = std::vector<std::string>;

void CheckKda(const DeltaMixerConfig& d, Reasons* why) {
  if (d.decay != DeltaDecay::kPerChannel) {
    why->push_back("its delta-rule layers are kda");
    return;
  }
  if (d.num_value_heads != d.num_heads) why->push_back("its kda has no num_value_heads of its own");
  if (d.value_dim != d.key_dim || d.decay_rank != d.key_dim || d.output_gate_rank != d.key_dim) {
    why->push_back(
        "its kda has one head_dim for key_dim, value_dim, decay_rank and "
        "output_gate_rank");
  }
  if (d.output_gate != OutputGate::kSigmoid || d.output_gate_bias) {
    why->push_back("its kda has an output_gate of sigmoid without output_gate_bias");
  }
  if (d.conv_width < 1) why->push_back("its kda has a convolution (conv_width)");
  if (!d.learned_beta || d.negative_eigenvalues) {
    why->push_back("its kda learns beta in (0, 1) (learned_beta, negative_eigenvalues)");
  }
  if (d.gate_lower_bound.has_value()) why->push_back("its kda has no gate_lower_bound");
}

void CheckMla(const MlaMixerConfig& a, Reasons* why) {
  if (a.rope) why->push_back("its mla does not rotate (rope)");
  if (a.latent_norm_eps != 1e-6) {
    why->push_back(absl::StrCat("its latent_norm_eps is 1e-6, not ", a.latent_norm_eps));
  }
  if (a.output_gate != OutputGate::kNone) why->push_back("its mla has no output_gate");
}

}  // namespace

Reasons WhyNotKimi(const ModelConfig& m, const std::vector<MixerConfig>& layers) {
  Reasons why;
  const DeltaMixerConfig* kda = nullptr;
  const MlaMixerConfig* mla = nullptr;
  const auto check = [&](const auto* mixer, const auto** first, const auto& check_one) {
    if (*first == nullptr) {
      *first = mixer;
      check_one(*mixer, &why);
    } else if (!(*mixer == **first)) {
      why.push_back("its config.json has room for one kind of kda and one of mla");
      return false;
    }
    return true;
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].As<AttentionMixerConfig>() != nullptr) {
      why.push_back(absl::StrCat("layer ", i + 1, " is attention"));
      break;
    }
    const auto* d = layers[i].As<DeltaMixerConfig>();
    const auto* a = layers[i].As<MlaMixerConfig>();
    if (d != nullptr ? !check(d, &kda, CheckKda) : !check(a, &mla, CheckMla)) break;
  }
  if (mla == nullptr && why.empty()) why.push_back("it has a layer of mla");
  if (m.mlp_bias) why.push_back("its MLP has no bias (mlp_bias)");
  return why;
}

void WriteKimi(const ModelConfig& m, const std::vector<MixerConfig>& layers, nlohmann::json* c) {
  nlohmann::json& config = *c;
  nlohmann::json kda_layers = nlohmann::json::array(), full_layers = kda_layers, types = kda_layers,
                 mlp_types = kda_layers;
  DeltaMixerConfig kda{.num_heads = 32};  // if there is none, any numbers do
  MlaMixerConfig mla;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const auto* d = layers[i].As<DeltaMixerConfig>();
    if (d != nullptr) kda = *d;
    if (d == nullptr) mla = *layers[i].As<MlaMixerConfig>();
    (d != nullptr ? kda_layers : full_layers).push_back(i + 1);
    types.push_back(d != nullptr ? "linear_attention" : "full_attention");
    mlp_types.push_back(m.IsMoe(i) ? "sparse" : "dense");
  }
  config["rms_norm_eps"] = m.norm_eps;
  config["hidden_act"] = "silu";
  config["linear_attn_config"] = {{"num_heads", kda.num_heads},
                                  {"head_dim", kda.key_dim},
                                  {"short_conv_kernel_size", kda.conv_width},
                                  {"kda_layers", kda_layers},
                                  {"full_attn_layers", full_layers}};
  config["layer_types"] = types;
  config["mlp_layer_types"] = mlp_types;
  config["num_attention_heads"] = config["num_key_value_heads"] = mla.num_heads;
  config["q_lora_rank"] =
      mla.q_lora_rank > 0 ? nlohmann::json(mla.q_lora_rank) : nlohmann::json(nullptr);
  config["kv_lora_rank"] = mla.kv_lora_rank;
  config["qk_nope_head_dim"] = mla.qk_nope_dim;
  config["qk_rope_head_dim"] = mla.qk_rope_dim;
  config["v_head_dim"] = mla.value_dim;
  config["mla_use_nope"] = true;
  config["head_dim"] = mla.qk_rope_dim;  // vestigial; what transformers writes
  config["rope_theta"] = 10000.0;        // likewise
  config["model_max_length"] = config["max_position_embeddings"];
  config["num_nextn_predict_layers"] = 0;
  // A model without experts has all its layers dense.
  const MoeConfig moe = m.moe.value_or(MoeConfig{.first_dense = m.num_layers});
  config["num_experts"] =
      m.moe.has_value() ? nlohmann::json(moe.num_experts) : nlohmann::json(nullptr);
  config["num_experts_per_token"] = moe.experts_per_token;
  config["num_shared_experts"] = moe.shared_experts;
  config["moe_intermediate_size"] = moe.intermediate_size;
  config["moe_router_activation_func"] =
      moe.router == RouterScore::kSigmoid ? "sigmoid" : "softmax";
  config["moe_renormalize"] = moe.renormalize;
  config["routed_scaling_factor"] = moe.scale;
  config["first_k_dense_replace"] = moe.first_dense;
  config["moe_layer_freq"] = moe.every;
  config["use_grouped_topk"] = true;
  config["num_expert_group"] = moe.groups;
  config["topk_group"] = moe.top_groups;
}

}  // namespace wyvern
