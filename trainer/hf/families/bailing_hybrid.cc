// bailing_hybrid, the Ling 3 models of inclusionAI, in the vocabularies of their files and of
// transformers 5.24: KDA with a bounded gate and full matrices, and rotating MLA with a gate a
// head.
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/kda_hybrid.h"
#include "trainer/hf/families/registry.h"

namespace wyvern {
namespace {

using nlohmann::json;

// A key of two spellings, of which `second` is the other library's; it is read from the one that is
// there.
const char* Spelling(KeyReader* r, const char* first, const char* second) {
  if (!r->Has(first)) return r->Has(second) ? second : first;
  r->Only(second, r->Json(first), absl::StrCat("it contradicts ", first).c_str());
  return first;
}

// The published files say these keys besides. Other values are other models.
void RefuseOtherLings(KeyReader* r, const ModelConfig& m) {
  for (const char* key : {"use_bias", "use_qkv_bias", "attention_bias"}) {
    r->Only(key, false, "projections have no bias");
  }
  for (const char* key : {"attention_dropout", "embedding_dropout", "output_dropout"}) {
    r->Only(key, 0.0, "there is no dropout");
  }
  for (const char* key : {"use_nGPT", "up_proj_norm", "value_norm", "scale_router_input"}) {
    r->Only(key, false, "it changes the layers");
  }
  r->Only("linear_attention", "kda", "the linear layers are KDA");
  r->Only("no_kda_lora", true, "KDA's decays and gates come from full matrices");
  r->Only("use_kda_lora", false, "KDA's decays and gates come from full matrices");
  r->Only("kda_allow_neg_eigval", false, "beta lies in (0, 1)");
  r->Only("group_norm_size", 1, "each head's output has a norm");
  r->Only("gated_attention_proj_granularity_type", "head_wise", "MLA has a gate a head");
  r->Only("use_mla_nope", false, "MLA rotates");
  r->Only("rope_interleave", true, "MLA rotates neighbours");
  for (const char* key : {"score_function", "scoring_func"}) {
    r->Only(key, "sigmoid", "routing is by sigmoid");
  }
  r->Only("topk_method", "noaux_tc", "experts are chosen with the correction bias");
  r->Only("moe_router_enable_expert_bias", true, "experts are chosen with the correction bias");
  // Some readers clamp the activations of the layers that these name, and transformers does not.
  for (const char* key : {"expert_swiglu_limit_list", "share_expert_swiglu_limit_list"}) {
    const json& limits = r->Json(key);
    if (limits.is_null()) continue;
    if (!limits.is_array()) r->Fault(key, "expected a list");
    for (const json& limit : limits) {
      if (limit.is_null() || limit == 0) continue;
      r->Fault(key, "is not supported: SwiGLU is not clamped");
      break;
    }
  }
  r->Ignore({"use_qk_norm", "linear_silu", "max_window_layers", "partial_rotary_factor",
             "rotary_dim", "router_dtype", "seq_aux", "pretraining_tp", "output_router_logits",
             "mtp_loss_scaling_factor", "mtp_use_kda", "model_max_length"});
  if (m.tie_embeddings) r->Fault("tie_word_embeddings", "true is not supported: the head is apart");
}

DeltaMixerConfig ReadKda(KeyReader* r, int64_t num_heads) {
  DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                       .num_heads = num_heads,
                       .gate_lower_bound = -5,
                       .decay_rank = DeltaMixerConfig::kFullRank,
                       .output_gate = OutputGate::kSigmoid};
  // transformers writes its own copies, and head_dim as MLA's rotating part then.
  r->Count(r->Has("linear_head_dim") ? "linear_head_dim" : "head_dim", &kda.key_dim);
  r->Ignore({"head_dim"});
  kda.value_dim = kda.key_dim;
  r->Count(Spelling(r, "short_conv_kernel_size", "linear_conv_kernel_dim"), &kda.conv_width);
  r->Only("linear_num_heads", num_heads, "KDA has as many heads as MLA");
  int64_t other_heads = 0;
  r->Int("num_kv_heads_for_linear_attn", &other_heads);
  if (other_heads != 0 && other_heads != num_heads) {
    r->Fault("num_kv_heads_for_linear_attn",
             absl::StrCat(other_heads, " is not supported: KDA has as many heads as MLA"));
  }
  bool bounded = true;
  r->Bool("kda_safe_gate", &bounded);
  r->Real("kda_lower_bound", &kda.gate_lower_bound);
  if (!bounded) kda.gate_lower_bound.reset();
  return kda;
}

// Layer numbers from 1.
std::set<int64_t> ReadFullLayers(KeyReader* r, int64_t num_layers) {
  const auto linear =
      ReadLayerKinds(r, "layer_types", num_layers, "linear_attention", "full_attention");
  int64_t group = 6;
  r->Count("layer_group_size", &group);
  if (!linear.has_value() && group > 0 && num_layers % group != 0) {
    r->Fault("layer_group_size",
             absl::StrCat(group, " does not divide num_hidden_layers ", num_layers,
                          ", and readers differ on the rest; say layer_types"));
  }
  std::set<int64_t> full;
  for (int64_t layer = 1; layer <= num_layers; ++layer) {
    if (linear.has_value() ? !(*linear)[layer - 1] : layer % group == 0) full.insert(layer);
  }
  return full;
}

void ReadExperts(KeyReader* r, ModelConfig* m) {
  auto sparse = ReadLayerKinds(r, "mlp_layer_types", m->num_layers, "sparse", "dense");
  MoeConfig moe{.first_dense = 2, .scale = 2.5, .groups = 8, .top_groups = 4};
  r->Int("first_k_dense_replace", &moe.first_dense);
  const char* per_token = Spelling(r, "num_experts_per_tok", "num_experts_per_token");
  const char* groups = Spelling(r, "n_group", "num_expert_group");
  const char* shared = Spelling(r, "num_shared_experts", "n_shared_experts");
  const char* renormalize = Spelling(r, "norm_topk_prob", "moe_renormalize");
  r->Int(groups, &moe.groups);
  r->Int("topk_group", &moe.top_groups);
  r->Int(shared, &moe.shared_experts);
  r->Bool(renormalize, &moe.renormalize);
  r->Real("routed_scaling_factor", &moe.scale);
  // Without experts, any numbers do.
  if (moe.first_dense < m->num_layers) {
    ReadSize(r, per_token, &moe.experts_per_token);
    ReadSize(r, "num_experts", &moe.num_experts);
    ReadSize(r, "moe_intermediate_size", &moe.intermediate_size);
  } else {
    r->Ignore({per_token, "num_experts", "moe_intermediate_size"});
  }
  r->Only("moe_shared_expert_intermediate_size", moe.intermediate_size,
          "a shared expert is as wide as the others");
  UseExperts(r, sparse, moe, m);
}

void Read(KeyReader* r, ModelConfig* m) {
  ReadSize(r, "hidden_size", &m->hidden_size);
  ReadSize(r, "num_hidden_layers", &m->num_layers);
  if (!r->Has("intermediate_size")) r->Fault("intermediate_size", "is missing");
  ReadIntermediateSize(r, m);
  r->Real("rms_norm_eps", &m->norm_eps);
  r->Only("hidden_act", "silu", "the MLP is SwiGLU");
  RefuseSlidingWindow(r);
  RefuseOtherLings(r, *m);
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  MlaMixerConfig mla{.rope = true,
                     .output_gate = OutputGate::kSigmoid,
                     .output_gate_scope = OutputGateScope::kHead};
  ReadMla(r, &mla);
  std::optional<double> factor;  // the rotating part is said by itself
  mla.rope_theta = ReadRopeTheta(r, &factor, 6e6);
  UseKdaAndMla(ReadKda(r, mla.num_heads), mla, ReadFullLayers(r, m->num_layers), m);
  ReadExperts(r, m);
}

// ---- writing ----------------------------------------------------------------------------------

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const KdaHybridMixers mixers = CheckKdaHybrid(m, &why);
  if (mixers.kda.has_value() && mixers.kda->decay == DeltaDecay::kPerChannel) {
    if (mixers.kda->decay_rank != DeltaMixerConfig::kFullRank) {
      why.push_back("needs kda whose decay_rank is full");
    }
    if (mixers.kda->output_gate_rank != 0) why.push_back("needs kda whose output_gate_rank is 0");
    if (mixers.mla.has_value() && mixers.kda->num_heads != mixers.mla->num_heads) {
      why.push_back("needs as many heads in kda as in mla (num_heads)");
    }
  }
  if (mixers.mla.has_value()) {
    if (!mixers.mla->rope) why.push_back("needs mla that rotates (rope: true)");
    if (mixers.mla->output_gate != OutputGate::kSigmoid ||
        mixers.mla->output_gate_scope != OutputGateScope::kHead) {
      why.push_back("needs mla with an output_gate of sigmoid whose output_gate_scope is head");
    }
  }
  if (!m.moe.has_value()) return why;
  if (m.moe->router != RouterScore::kSigmoid) why.push_back("needs a router of sigmoid");
  if (m.moe->every != 1) {
    why.push_back("needs experts in all layers behind the dense ones (every: 1)");
  }
  if (m.moe->shared_experts < 1) why.push_back("needs shared experts (shared_experts)");
  return why;
}

// How many layers a group has, of which the last is MLA; 0: the layers are no such groups.
int64_t GroupSize(const ModelConfig& m) {
  const auto full = [&m](int64_t layer) {
    return m.MixerOfLayer(layer).As<MlaMixerConfig>() != nullptr;
  };
  int64_t size = 1;
  while (size <= m.num_layers && !full(size - 1)) ++size;
  if (m.num_layers % size != 0) return 0;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    if (full(i) != ((i + 1) % size == 0)) return 0;
  }
  return size;
}

void Write(const ModelConfig& m, json* c) {
  const KdaHybridMixers mixers = KdaHybridMixersOf(m);
  const DeltaMixerConfig kda = mixers.kda.value_or(DeltaMixerConfig());  // any numbers do
  json& config = *c;
  config["rms_norm_eps"] = m.norm_eps;
  config["hidden_act"] = "silu";
  WriteMla(*mixers.mla, c);
  WriteRopeTheta(mixers.mla->rope_theta, c);
  config["rope_interleave"] = true;
  config["gated_attention_proj_granularity_type"] = "head_wise";
  config["head_dim"] = kda.key_dim;
  config["short_conv_kernel_size"] = kda.conv_width;
  config["no_kda_lora"] = true;
  config["kda_safe_gate"] = kda.gate_lower_bound.has_value();
  config["kda_lower_bound"] = kda.gate_lower_bound.value_or(-5);
  if (const int64_t size = GroupSize(m); size > 0) config["layer_group_size"] = size;
  config["layer_types"] = LayerTypes(m);
  config["mlp_layer_types"] = MlpLayerTypes(m);
  config["num_nextn_predict_layers"] = 0;
  // A model without experts has all its layers dense.
  const MoeConfig moe = m.moe.value_or(
      MoeConfig{.num_experts = 2, .experts_per_token = 1, .first_dense = m.num_layers});
  config["num_experts"] = moe.num_experts;
  config["num_experts_per_tok"] = moe.experts_per_token;
  config["num_shared_experts"] = moe.shared_experts;
  config["moe_intermediate_size"] = moe.intermediate_size;
  config["moe_shared_expert_intermediate_size"] = moe.intermediate_size;
  config["norm_topk_prob"] = moe.renormalize;
  config["routed_scaling_factor"] = moe.scale;
  config["first_k_dense_replace"] = moe.first_dense;
  config["n_group"] = moe.groups;
  config["topk_group"] = moe.top_groups;
  config["score_function"] = "sigmoid";
  config["moe_router_enable_expert_bias"] = true;
}

// ---- tensors ----------------------------------------------------------------------------------

constexpr RenamedPart kMoeParts[] = {{"moe.router.weight", "mlp.gate.weight"},
                                     {"moe.shared.", "mlp.shared_experts."}};
constexpr RenamedPart kExpertParts[] = {{"moe.experts.gate.weight", ".gate_proj.weight"},
                                        {"moe.experts.up.weight", ".up_proj.weight"},
                                        {"moe.experts.down.weight", ".down_proj.weight"}};

// The first `own` rows of each group stay. The others rotate: there the two of a pair are
// neighbours, ours are `rotary` / 2 rows apart.
std::vector<int64_t> RotaryRows(int64_t groups, int64_t own, int64_t rotary) {
  std::vector<int64_t> rows;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * (own + rotary);
    for (int64_t i = 0; i < own; ++i) rows.push_back(begin + i);
    for (const int64_t member : {0, 1}) {
      for (int64_t i = member; i < rotary; i += 2) rows.push_back(begin + own + i);
    }
  }
  return rows;
}

HfTensor MixerTensor(absl::string_view name, const Shape& shape, const MixerConfig& mixer) {
  std::string theirs = Renamed(name, kKdaHybridParts);
  if (name == "o_proj.weight") theirs = "dense.weight";
  if (name == "decay_proj.weight") theirs = "f_proj.weight";
  HfTensor tensor{.name = absl::StrCat("attention.", theirs), .shape = shape};
  const auto* mla = mixer.As<MlaMixerConfig>();
  if (mla == nullptr) return tensor;
  const bool queries = name == (mla->q_lora_rank > 0 ? "q_b_proj.weight" : "q_proj.weight");
  if (queries) tensor.rows = RotaryRows(mla->num_heads, mla->qk_nope_dim, mla->qk_rope_dim);
  if (name == "kv_a_proj.weight") tensor.rows = RotaryRows(1, mla->kv_lora_rank, mla->qk_rope_dim);
  if (name == "kv_b_proj.weight") {
    tensor.rows = KvRowsByHead(mla->num_heads, mla->qk_nope_dim, mla->value_dim);
  }
  return tensor;
}

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  for (const RenamedPart& part : kExpertParts) {
    if (name == part.ours) return ExpertSlices("mlp.experts.", part.theirs, shape);
  }
  if (name == "moe.router.bias") {
    return {{.name = "mlp.gate.expert_bias",
             .shape = shape,
             .other_name = "mlp.gate.e_score_correction_bias"}};
  }
  if (absl::ConsumePrefix(&name, "mixer.")) return {MixerTensor(name, shape, mixer)};
  const std::string renamed = Renamed(name, kMoeParts);
  if (renamed != name) return {{.name = renamed, .shape = shape}};
  return {{.name = Renamed(name, kHfLayerParts), .shape = shape}};
}

}  // namespace

const HfFamily kBailingHybridFamily = {.model_type = "bailing_hybrid",
                                       .architecture = "BailingMoeV3ForCausalLM",
                                       .mixer_type = "mla",
                                       .embedding_name = "model.word_embeddings.weight",
                                       .ties_head = false,
                                       .extra_layers_key = "num_nextn_predict_layers",
                                       .passed_over = "use_qk_norm",
                                       .read = Read,
                                       .why_not = WhyNot,
                                       .write = Write,
                                       .layer_tensors = LayerTensors};

}  // namespace wyvern
