#include "trainer/hf/families/kda_hybrid.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/checked_math.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

using nlohmann::json;

void CheckKda(const DeltaMixerConfig& d, std::vector<std::string>* why) {
  if (d.decay != DeltaDecay::kPerChannel) {
    why->push_back("needs kda as delta-rule layers");
    return;
  }
  if (d.num_value_heads != d.num_heads) {
    why->push_back("needs kda with as many value heads as heads (num_value_heads)");
  }
  if (d.value_dim != d.key_dim) {
    why->push_back("needs kda whose key_dim is its value_dim");
  }
  if (d.output_gate != OutputGate::kSigmoid || (d.output_gate_rank > 0 && d.output_gate_bias)) {
    why->push_back("needs kda with an output_gate of sigmoid without output_gate_bias");
  }
  if (d.conv_width < 1) why->push_back("needs kda with a convolution (conv_width)");
  CheckL2Norm(d, why);
  if (d.output_norm_eps.has_value()) {
    why->push_back("needs kda whose output norms have the model's norm_eps (output_norm_eps)");
  }
  if (!d.learned_beta || d.negative_eigenvalues) {
    why->push_back(
        "needs kda that learns beta in (0, 1) (learned_beta: true, negative_eigenvalues: false)");
  }
}

void CheckMla(const MlaMixerConfig& a, std::vector<std::string>* why) {
  if (a.latent_norm_eps != 1e-6) {
    why->push_back(absl::StrCat("needs a latent_norm_eps of 1e-6, not ", a.latent_norm_eps));
  }
}

}  // namespace

void ReadSize(KeyReader* r, const char* key, int64_t* value) {
  if (!r->Has(key)) {
    r->Fault(key, "is missing");
    return;
  }
  r->Int(key, value);
}

void ReadMla(KeyReader* r, MlaMixerConfig* mla) {
  ReadSize(r, "num_attention_heads", &mla->num_heads);
  r->Only("num_key_value_heads", mla->num_heads, "MLA has a key head for each head");
  r->Int("q_lora_rank", &mla->q_lora_rank);
  ReadSize(r, "kv_lora_rank", &mla->kv_lora_rank);
  ReadSize(r, "qk_nope_head_dim", &mla->qk_nope_dim);
  ReadSize(r, "qk_rope_head_dim", &mla->qk_rope_dim);
  ReadSize(r, "v_head_dim", &mla->value_dim);
  r->Only("qk_head_dim", SaturatedSum(mla->qk_nope_dim, mla->qk_rope_dim),
          "it contradicts qk_nope_head_dim + qk_rope_head_dim");
}

void WriteMla(const MlaMixerConfig& mla, json* c) {
  json& config = *c;
  config["num_attention_heads"] = config["num_key_value_heads"] = mla.num_heads;
  config["q_lora_rank"] = mla.q_lora_rank > 0 ? json(mla.q_lora_rank) : json(nullptr);
  config["kv_lora_rank"] = mla.kv_lora_rank;
  config["qk_nope_head_dim"] = mla.qk_nope_dim;
  config["qk_rope_head_dim"] = mla.qk_rope_dim;
  config["v_head_dim"] = mla.value_dim;
}

void UseKdaAndMla(const DeltaMixerConfig& kda, const MlaMixerConfig& mla,
                  const std::set<int64_t>& full_layers, ModelConfig* m) {
  if (static_cast<int64_t>(full_layers.size()) < m->num_layers) {
    m->mixers["kda"] = kda;
    m->pattern = {"kda"};
  }
  if (full_layers.empty()) return;
  m->mixers["mla"] = mla;
  if (m->pattern.empty()) {
    m->pattern = {"mla"};
  } else {
    m->at["mla"] = {full_layers.begin(), full_layers.end()};
  }
}

void UseExperts(KeyReader* r, const std::optional<std::vector<bool>>& sparse, MoeConfig moe,
                ModelConfig* m) {
  if (sparse.has_value()) {
    if (!FindExpertLayers(*sparse, &moe)) {
      r->Fault("mlp_layer_types",
               "is not supported: dense layers first, then every n-th layer sparse");
    }
    if (std::find(sparse->begin(), sparse->end(), true) == sparse->end()) return;
  } else if (moe.first_dense >= m->num_layers) {
    return;  // no layer has experts
  }
  m->moe = moe;
}

KdaHybridMixers CheckKdaHybrid(const ModelConfig& m, std::vector<std::string>* why) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  KdaHybridMixers mixers;
  const auto check = [&](const auto& mixer, auto* first, const auto& check_one) {
    if (!first->has_value()) {
      *first = mixer;
      check_one(mixer, why);
    } else if (!(mixer == **first)) {
      why->push_back("needs one kind of kda and one of mla");
      return false;
    }
    return true;
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto* d = layers[i].As<DeltaMixerConfig>();
    const auto* a = layers[i].As<MlaMixerConfig>();
    if (d == nullptr && a == nullptr) {
      why->push_back(absl::StrCat("layer ", i + 1, " is ", layers[i].type().name));
      break;
    }
    if (d != nullptr ? !check(*d, &mixers.kda, CheckKda) : !check(*a, &mixers.mla, CheckMla)) break;
  }
  if (!mixers.mla.has_value() && why->empty()) why->push_back("needs a layer of mla");
  if (m.mlp_bias) why->push_back("needs an MLP without biases (mlp_bias: false)");
  if (m.moe.has_value() && m.moe->shared_gate) {
    why->push_back("needs shared experts without a gate (shared_gate: false)");
  }
  return mixers;
}

KdaHybridMixers KdaHybridMixersOf(const ModelConfig& m) {
  KdaHybridMixers mixers;
  for (const MixerConfig& mixer : MixersInFull(m)) {
    if (const auto* d = mixer.As<DeltaMixerConfig>()) mixers.kda = *d;
    if (const auto* a = mixer.As<MlaMixerConfig>()) mixers.mla = *a;
  }
  return mixers;
}

json LayerTypes(const ModelConfig& m) {
  json types = json::array();
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const bool full = m.MixerOfLayer(i).As<MlaMixerConfig>() != nullptr;
    types.push_back(full ? "full_attention" : "linear_attention");
  }
  return types;
}

json MlpLayerTypes(const ModelConfig& m) {
  json types = json::array();
  for (int64_t i = 0; i < m.num_layers; ++i) types.push_back(m.IsMoe(i) ? "sparse" : "dense");
  return types;
}

}  // namespace wyvern
