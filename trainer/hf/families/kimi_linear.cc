// kimi_linear, in the vocabularies of the files that moonshotai published and of transformers 5.
// Kimi Linear: arXiv 2510.26692.
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/json_members.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/kda_hybrid.h"
#include "trainer/hf/families/registry.h"

namespace wyvern {
namespace {

using nlohmann::json;

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
  ReadSize(&inner, "num_heads", &kda.num_heads);
  ReadSize(&inner, "head_dim", &kda.key_dim);
  ReadSize(&inner, "short_conv_kernel_size", &kda.conv_width);
  kda.value_dim = kda.decay_rank = kda.output_gate_rank = kda.key_dim;
  inner.Real("gate_lower_bound", &kda.gate_lower_bound);
  bool full_rank_gate = false;
  inner.Bool("use_full_rank_gate", &full_rank_gate);
  if (full_rank_gate) {
    kda.output_gate_rank = 0;
    kda.output_gate_bias = true;  // of a second matrix, which there is not
  }
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
  ReadMla(r, &mla);
  r->Only("mla_use_nope", true, "MLA does not rotate");
  bool gated = false;
  r->Bool("mla_use_output_gate", &gated);
  if (gated) mla.output_gate = OutputGate::kSigmoid;
  UseKdaAndMla(kda, mla, full_layers, m);
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
  ReadSize(r, "num_experts_per_token", &moe.experts_per_token);
  ReadSize(r, "moe_intermediate_size", &moe.intermediate_size);
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
  std::optional<std::vector<bool>> sparse = dense;
  if (sparse.has_value()) sparse->flip();
  UseExperts(r, sparse, moe, m);
}

void Read(KeyReader* r, ModelConfig* m) {
  ReadSize(r, "hidden_size", &m->hidden_size);
  ReadSize(r, "num_hidden_layers", &m->num_layers);
  if (!r->Has("intermediate_size")) r->Fault("intermediate_size", "is missing");
  ReadIntermediateSize(r, m);
  if (!r->Has("rms_norm_eps")) r->Fault("rms_norm_eps", "is missing");
  r->Real("rms_norm_eps", &m->norm_eps);
  r->Only("hidden_act", "silu", "the MLP is SwiGLU");
  RefuseSlidingWindow(r);
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("attention_dropout", 0.0, "there is no dropout");
  r->Only("num_nextn_predict_layers", 0, "there is no multi-token prediction");
  // Kimi K3 has these, and other layers.
  r->Only("attn_res_block_size", nullptr, "the residual path has no attention");
  r->Only("routed_expert_hidden_size", nullptr, "experts have the model's width");
  // Vestigial head_dim and positions; nothing rotates.
  r->Ignore({"head_dim", "rope_theta", "rope_scaling", "rope_parameters", "model_max_length",
             "pretraining_tp"});
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  ReadMixers(r, m);
  ReadExperts(r, m);
}

// ---- writing ----------------------------------------------------------------------------------

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const KdaHybridMixers mixers = CheckKdaHybrid(m, &why);
  if (mixers.kda.has_value() && mixers.kda->decay == DeltaDecay::kPerChannel) {
    const DeltaMixerConfig& d = *mixers.kda;
    if (d.decay_rank != d.key_dim) why.push_back("needs kda whose decay_rank is key_dim");
    if (d.output_gate_rank != d.key_dim && d.output_gate_rank != 0) {
      why.push_back("needs kda whose output_gate_rank is key_dim or 0");
    }
  }
  if (!mixers.mla.has_value()) return why;
  if (mixers.mla->rope) why.push_back("needs mla that does not rotate (rope: false)");
  if (mixers.mla->output_gate_scope != OutputGateScope::kChannel) {
    why.push_back("needs mla whose output_gate_scope is channel");
  }
  return why;
}

void Write(const ModelConfig& m, json* c) {
  const KdaHybridMixers mixers = KdaHybridMixersOf(m);
  // If there is no KDA, any numbers do.
  const DeltaMixerConfig kda = mixers.kda.value_or(
      DeltaMixerConfig{.decay = DeltaDecay::kPerChannel, .num_heads = 32, .output_gate_rank = 128});
  const MlaMixerConfig& mla = *mixers.mla;
  json& config = *c;
  json kda_layers = json::array(), full_layers = kda_layers;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const bool full = m.MixerOfLayer(i).As<MlaMixerConfig>() != nullptr;
    (full ? full_layers : kda_layers).push_back(i + 1);
  }
  config["rms_norm_eps"] = m.norm_eps;
  config["hidden_act"] = "silu";
  config["linear_attn_config"] = {{"num_heads", kda.num_heads},
                                  {"head_dim", kda.key_dim},
                                  {"short_conv_kernel_size", kda.conv_width},
                                  {"kda_layers", kda_layers},
                                  {"full_attn_layers", full_layers}};
  json& linear = config["linear_attn_config"];
  if (kda.gate_lower_bound.has_value()) linear["gate_lower_bound"] = *kda.gate_lower_bound;
  if (kda.output_gate_rank == 0) linear["use_full_rank_gate"] = true;
  config["layer_types"] = LayerTypes(m);
  config["mlp_layer_types"] = MlpLayerTypes(m);
  WriteMla(mla, c);
  config["mla_use_nope"] = true;
  if (mla.output_gate != OutputGate::kNone) config["mla_use_output_gate"] = true;
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

constexpr RenamedPart kLowRankParts[] = {{"decay_down.", "f_a_proj."},
                                         {"decay_up.", "f_b_proj."},
                                         {"gate_down.", "g_a_proj."},
                                         {"gate_up.", "g_b_proj."}};
constexpr RenamedPart kMoeParts[] = {
    {"moe.router.weight", "block_sparse_moe.gate.weight"},
    {"moe.router.bias", "block_sparse_moe.gate.e_score_correction_bias"},
    {"moe.shared.", "block_sparse_moe.shared_experts."}};
constexpr RenamedPart kExpertParts[] = {{"moe.experts.gate.weight", ".w1.weight"},
                                        {"moe.experts.up.weight", ".w3.weight"},
                                        {"moe.experts.down.weight", ".w2.weight"}};

HfTensor MixerTensor(absl::string_view name, const Shape& shape, const MixerConfig& mixer) {
  std::string theirs = Renamed(name, kKdaHybridParts);
  if (theirs == name) theirs = Renamed(name, kLowRankParts);
  HfTensor tensor{.name = absl::StrCat("self_attn.", theirs), .shape = shape};
  if (name == "a_log") tensor.shape = {1, 1, shape[0], 1};
  if (name == "kv_b_proj.weight") {
    const auto& mla = *mixer.As<MlaMixerConfig>();
    tensor.rows = KvRowsByHead(mla.num_heads, mla.qk_nope_dim, mla.value_dim);
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
