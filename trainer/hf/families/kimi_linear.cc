// kimi_linear, in the vocabularies of the files that moonshotai published and of transformers 5.
// Kimi Linear: arXiv 2510.26692.
#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/json_members.h"
#include "kernels/runtime/checked_math.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

using nlohmann::json;

// A size that has no default: the library's own are another model's.
void Size(KeyReader* r, const char* key, int64_t* value) {
  if (!r->Has(key)) {
    r->Fault(key, "is missing");
    return;
  }
  r->Int(key, value);
}

// Layer numbers from 1.
std::set<int64_t> Layers(KeyReader* r, const char* key, int64_t num_layers) {
  std::set<int64_t> layers;
  const json& list = r->Json(key);
  if (!list.is_null() && !list.is_array()) r->Fault(key, "expected a list of layer numbers");
  if (!list.is_array()) return layers;
  for (const json& layer : list) {
    const int64_t number = JsonInteger(layer).value_or(0);
    if (number < 1 || number > num_layers) {
      r->Fault(key, absl::StrCat(DescribeJson(layer), " is not a layer from 1 to ", num_layers));
    } else {
      layers.insert(number);
    }
  }
  return layers;
}

// The mixers, and which layers are MLA: linear_attn_config has two lists from 1,
// transformers writes layer_types besides.
void ReadMixers(KeyReader* r, ModelConfig* m) {
  const json& linear = r->Json("linear_attn_config");
  if (!linear.is_object()) {
    r->Fault("linear_attn_config", "expected an object");
    return;
  }
  KeyReader inner = r->Inner(linear, "linear_attn_config.");
  DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                       .output_gate = OutputGate::kSigmoid,
                       .output_gate_bias = false};
  Size(&inner, "num_heads", &kda.num_heads);
  Size(&inner, "head_dim", &kda.key_dim);
  Size(&inner, "short_conv_kernel_size", &kda.conv_width);
  kda.value_dim = kda.decay_rank = kda.output_gate_rank = kda.key_dim;
  inner.Only("gate_lower_bound", nullptr, "decays are not bounded");
  const std::set<int64_t> kda_layers = Layers(&inner, "kda_layers", m->num_layers);
  std::set<int64_t> full_layers = Layers(&inner, "full_attn_layers", m->num_layers);
  const bool listed = inner.Has("kda_layers") || inner.Has("full_attn_layers");
  const auto types =
      ReadLayerKinds(r, "layer_types", m->num_layers, "linear_attention", "full_attention");
  if (!listed && !types.has_value()) inner.Fault("kda_layers", "is missing");
  for (int64_t layer = 1; layer <= m->num_layers; ++layer) {
    if (listed && kda_layers.count(layer) == full_layers.count(layer)) {
      inner.Fault("kda_layers", absl::StrCat("layer ", layer, " stands in ",
                                             kda_layers.count(layer) > 0 ? "both" : "neither",
                                             " of kda_layers and full_attn_layers"));
    }
    if (!types.has_value()) continue;
    const bool full = !(*types)[layer - 1];
    if (!listed && full) full_layers.insert(layer);
    if (listed && full != (full_layers.count(layer) > 0)) {
      r->Fault("layer_types", absl::StrCat("contradicts linear_attn_config in layer ", layer));
    }
  }
  // Redundant copies.
  r->Only("linear_num_heads", kda.num_heads, "it contradicts linear_attn_config.num_heads");
  r->Only("linear_head_dim", kda.key_dim, "it contradicts linear_attn_config.head_dim");
  r->Only("linear_conv_kernel_dim", kda.conv_width,
          "it contradicts linear_attn_config.short_conv_kernel_size");
  inner.NoteUnknown();

  MlaMixerConfig mla;
  Size(r, "num_attention_heads", &mla.num_heads);
  r->Only("num_key_value_heads", mla.num_heads, "MLA has a key head for each head");
  r->Int("q_lora_rank", &mla.q_lora_rank);
  Size(r, "kv_lora_rank", &mla.kv_lora_rank);
  Size(r, "qk_nope_head_dim", &mla.qk_nope_dim);
  Size(r, "qk_rope_head_dim", &mla.qk_rope_dim);
  Size(r, "v_head_dim", &mla.value_dim);
  r->Only("qk_head_dim", SaturatedSum(mla.qk_nope_dim, mla.qk_rope_dim),
          "it contradicts qk_nope_head_dim + qk_rope_head_dim");
  r->Only("mla_use_nope", true, "MLA does not rotate");

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

void ReadExperts(KeyReader* r, ModelConfig* m) {
  const auto dense = ReadLayerKinds(r, "mlp_layer_types", m->num_layers, "dense", "sparse");
  r->Ignore({"first_k_dense_replace", "moe_layer_freq", "moe_intermediate_size",
             "num_experts_per_token", "num_shared_experts", "moe_router_activation_func",
             "moe_renormalize", "routed_scaling_factor", "use_grouped_topk", "num_expert_group",
             "topk_group"});
  if (!r->Has("num_experts")) return;
  MoeConfig moe;
  r->Int("num_experts", &moe.num_experts);
  Size(r, "num_experts_per_token", &moe.experts_per_token);
  Size(r, "moe_intermediate_size", &moe.intermediate_size);
  moe.shared_experts = 0;
  r->Int("num_shared_experts", &moe.shared_experts);
  std::string score = "sigmoid";
  r->String("moe_router_activation_func", &score);
  if (score == "softmax") {
    moe.router = RouterScore::kSoftmax;
  } else if (score != "sigmoid") {
    r->Fault("moe_router_activation_func",
             absl::StrCat("\"", score, "\" is not supported: sigmoid or softmax"));
  }
  r->Bool("moe_renormalize", &moe.renormalize);
  r->Real("routed_scaling_factor", &moe.scale);
  bool grouped = true;
  r->Bool("use_grouped_topk", &grouped);
  if (grouped) {
    r->Int("num_expert_group", &moe.groups);
    r->Int("topk_group", &moe.top_groups);
  }
  moe.first_dense = 0;
  r->Int("first_k_dense_replace", &moe.first_dense);
  r->Int("moe_layer_freq", &moe.every);
  if (dense.has_value()) {
    std::vector<bool> sparse = *dense;
    sparse.flip();
    if (!FindExpertLayers(sparse, &moe)) {
      r->Fault("mlp_layer_types",
               "is not supported: dense layers first, then every n-th layer sparse");
    }
    if (std::find(sparse.begin(), sparse.end(), true) == sparse.end()) return;
  } else if (moe.first_dense >= m->num_layers) {
    return;  // no layer has experts
  }
  m->moe = moe;
}

void Read(KeyReader* r, ModelConfig* m) {
  Size(r, "hidden_size", &m->hidden_size);
  Size(r, "num_hidden_layers", &m->num_layers);
  if (!r->Has("intermediate_size")) r->Fault("intermediate_size", "is missing");
  ReadIntermediateSize(r, m);
  if (!r->Has("rms_norm_eps")) r->Fault("rms_norm_eps", "is missing");
  r->Real("rms_norm_eps", &m->norm_eps);
  r->Only("hidden_act", "silu", "the MLP is SwiGLU");
  RefuseSlidingWindow(r);
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("attention_dropout", 0.0, "there is no dropout");
  r->Only("num_nextn_predict_layers", 0, "there is no multi-token prediction");
  // Vestigial head_dim and positions; nothing rotates.
  r->Ignore({"head_dim", "rope_theta", "rope_scaling", "rope_parameters", "model_max_length",
             "pretraining_tp"});
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  ReadMixers(r, m);
  ReadExperts(r, m);
}

// ---- writing ----------------------------------------------------------------------------------

void CheckKda(const DeltaMixerConfig& d, std::vector<std::string>* why) {
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
  if (d.output_norm_eps.has_value()) {
    why->push_back("its kda's output norms have its norm_eps (output_norm_eps)");
  }
  if (!d.learned_beta || d.negative_eigenvalues) {
    why->push_back("its kda learns beta in (0, 1) (learned_beta, negative_eigenvalues)");
  }
  if (d.gate_lower_bound.has_value()) why->push_back("its kda has no gate_lower_bound");
}

void CheckMla(const MlaMixerConfig& a, std::vector<std::string>* why) {
  if (a.rope) why->push_back("its mla does not rotate (rope)");
  if (a.latent_norm_eps != 1e-6) {
    why->push_back(absl::StrCat("its latent_norm_eps is 1e-6, not ", a.latent_norm_eps));
  }
  if (a.output_gate != OutputGate::kNone) why->push_back("its mla has no output_gate");
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  std::vector<std::string> why;
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
    const auto* d = layers[i].As<DeltaMixerConfig>();
    const auto* a = layers[i].As<MlaMixerConfig>();
    if (d == nullptr && a == nullptr) {
      why.push_back(absl::StrCat("layer ", i + 1, " is ", layers[i].type().name));
      break;
    }
    if (d != nullptr ? !check(d, &kda, CheckKda) : !check(a, &mla, CheckMla)) break;
  }
  if (mla == nullptr && why.empty()) why.push_back("it has a layer of mla");
  if (m.mlp_bias) why.push_back("its MLP has no bias (mlp_bias)");
  if (m.moe.has_value() && m.moe->shared_gate) {
    why.push_back("its shared experts have no gate (shared_gate)");
  }
  return why;
}

void Write(const ModelConfig& m, json* c) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  json& config = *c;
  json kda_layers = json::array(), full_layers = kda_layers, types = kda_layers,
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
  config["q_lora_rank"] = mla.q_lora_rank > 0 ? json(mla.q_lora_rank) : json(nullptr);
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
  config["num_experts"] = m.moe.has_value() ? json(moe.num_experts) : json(nullptr);
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

// ---- tensors ----------------------------------------------------------------------------------

constexpr RenamedPart kKdaParts[] = {{"q_conv.", "q_conv1d."},     {"k_conv.", "k_conv1d."},
                                     {"v_conv.", "v_conv1d."},     {"beta_proj.", "b_proj."},
                                     {"decay_down.", "f_a_proj."}, {"decay_up.", "f_b_proj."},
                                     {"a_log", "A_log"},           {"gate_down.", "g_a_proj."},
                                     {"gate_up.", "g_b_proj."},    {"output_norm.", "o_norm."}};
constexpr RenamedPart kMlaParts[] = {{"kv_a_proj.", "kv_a_proj_with_mqa."},
                                     {"kv_norm.", "kv_a_layernorm."},
                                     {"q_norm.", "q_a_layernorm."}};
constexpr RenamedPart kMoeParts[] = {
    {"moe.router.weight", "block_sparse_moe.gate.weight"},
    {"moe.router.bias", "block_sparse_moe.gate.e_score_correction_bias"},
    {"moe.shared.", "block_sparse_moe.shared_experts."}};
constexpr RenamedPart kExpertParts[] = {{"moe.experts.gate.weight", ".w1.weight"},
                                        {"moe.experts.up.weight", ".w3.weight"},
                                        {"moe.experts.down.weight", ".w2.weight"}};

HfTensor MixerTensor(absl::string_view name, const Shape& shape, const MixerConfig& mixer) {
  const auto* mla = mixer.As<MlaMixerConfig>();
  if (mla == nullptr) {
    return {.name = absl::StrCat("self_attn.", Renamed(name, kKdaParts)),
            .shape = name == "a_log" ? Shape{1, 1, shape[0], 1} : shape};
  }
  HfTensor tensor{.name = absl::StrCat("self_attn.", Renamed(name, kMlaParts)), .shape = shape};
  if (name == "kv_b_proj.weight") {
    tensor.rows = KvRowsByHead(mla->num_heads, mla->qk_nope_dim, mla->value_dim);
  }
  return tensor;
}

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  for (const RenamedPart& part : kExpertParts) {
    if (name != part.ours) continue;
    return ExpertSlices("block_sparse_moe.experts.", part.theirs, shape);
  }
  if (absl::ConsumePrefix(&name, "mixer.")) return {MixerTensor(name, shape, mixer)};
  if (absl::StartsWith(name, "moe.")) return {{.name = Renamed(name, kMoeParts), .shape = shape}};
  HfTensor tensor{.name = Renamed(name, kHfLayerParts), .shape = shape};
  // transformers 5.17 saves the dense MLPs under the name of the experts.
  if (absl::ConsumePrefix(&name, "mlp."))
    tensor.other_name = absl::StrCat("block_sparse_moe.", name);
  return {tensor};
}

}  // namespace

const HfFamily kKimiLinearFamily = {.model_type = "kimi_linear",
                                    .architecture = "KimiLinearForCausalLM",
                                    .mixer_type = "mla",
                                    .embedding_name = kHfEmbeddingName,
                                    .ties_head = false,
                                    .read = Read,
                                    .why_not = WhyNot,
                                    .write = Write,
                                    .layer_tensors = LayerTensors};

}  // namespace wyvern
