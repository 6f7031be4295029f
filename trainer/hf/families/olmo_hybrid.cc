// Hugging Face's olmo_hybrid (Olmo Hybrid 7B): pre-norm Gated DeltaNet with beta in (0, 2), and
// post-norm attention whose queries and keys are normalised over all heads, with or without RoPE.
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

using nlohmann::json;

constexpr char kLinear[] = "linear_attention", kFull[] = "full_attention";
constexpr double kOutputNormEps = 1e-5;  // whatever rms_norm_eps says

DeltaMixerConfig ReadDelta(KeyReader* r, const ModelConfig& m, int64_t num_heads) {
  DeltaMixerConfig d{.decay = DeltaDecay::kPerHead,
                     .num_heads = num_heads,
                     .num_value_heads = num_heads,
                     .negative_eigenvalues = true,
                     .output_gate = OutputGate::kSilu};
  if (m.norm_eps != kOutputNormEps) d.output_norm_eps = kOutputNormEps;
  r->Count("linear_num_key_heads", &d.num_heads);
  r->Count("linear_num_value_heads", &d.num_value_heads);
  d.key_dim = m.hidden_size * 3 / 4 / d.num_heads;
  r->Count("linear_key_head_dim", &d.key_dim);
  d.value_dim = 2 * d.key_dim;
  r->Count("linear_value_head_dim", &d.value_dim);
  r->Count("linear_conv_kernel_dim", &d.conv_width);
  r->Bool("linear_allow_neg_eigval", &d.negative_eigenvalues);
  // They draw initial values, and change nothing of a model that is there.
  r->Ignore({"linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max",
             "linear_dt_init_floor"});
  return d;
}

AttentionMixerConfig ReadAttention(KeyReader* r, const ModelConfig& m, int64_t num_heads) {
  AttentionMixerConfig a{.num_heads = num_heads,
                         .num_kv_heads = num_heads,
                         .qk_norm = true,
                         .qk_norm_scope = QkNormScope::kToken,
                         .qk_norm_eps = m.norm_eps,
                         .post_norm = true};
  r->Count("num_key_value_heads", &a.num_kv_heads);
  a.rope = r->Has("rope_parameters") || r->Has("rope_theta");
  const double theta = ReadRopeTheta(r);
  if (a.rope) a.rope_theta = theta;
  return a;
}

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 3840;
  m->num_layers = 32;
  m->intermediate_size = 11008;
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  ReadIntermediateSize(r, m);
  r->Real("rms_norm_eps", &m->norm_eps);
  RequireSwiGlu(r);
  RefuseSlidingWindow(r);
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("attention_dropout", 0.0, "there is no dropout");
  r->Only("head_dim", nullptr, "it is hidden_size / num_attention_heads");
  int64_t num_heads = 30;
  r->Count("num_attention_heads", &num_heads);
  const DeltaMixerConfig d = ReadDelta(r, *m, num_heads);
  const AttentionMixerConfig a = ReadAttention(r, *m, num_heads);
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  const auto linear = ReadLayerKinds(r, "layer_types", m->num_layers, kLinear, kFull);
  std::vector<int64_t> full;
  for (int64_t layer = 1; layer <= m->num_layers; ++layer) {
    if (linear.has_value() ? !(*linear)[layer - 1] : layer % 4 == 0) full.push_back(layer);
  }
  if (full.empty() || static_cast<int64_t>(full.size()) == m->num_layers) {
    r->Fault("layer_types", absl::StrCat("expected layers of both ", kLinear, " and ", kFull));
    return;
  }
  UseEverywhere("gated_delta_net", d, m);
  m->mixers["attention"] = a;
  m->at["attention"] = full;
}

void CheckDelta(const DeltaMixerConfig& d, const ModelConfig& m, std::vector<std::string>* why) {
  if (d.decay != DeltaDecay::kPerHead) {
    why->push_back("its delta-rule layers are gated_delta_net");
    return;
  }
  if (!d.learned_beta) why->push_back("its beta is always learned (learned_beta: false)");
  if (d.output_gate != OutputGate::kSilu || d.output_gate_rank > 0) {
    why->push_back("its output_gate is silu, of one matrix (output_gate_rank)");
  }
  if (d.conv_width < 1) why->push_back("its gated_delta_net has a convolution (conv_width)");
  if (d.output_norm_eps.value_or(m.norm_eps) != kOutputNormEps) {
    why->push_back(absl::StrCat("its output norms have an output_norm_eps of ", kOutputNormEps));
  }
}

void CheckAttention(const AttentionMixerConfig& a, const ModelConfig& m,
                    std::vector<std::string>* why) {
  if (!a.post_norm) why->push_back("its attention layers are post-norm (post_norm)");
  if (!a.qk_norm || a.qk_norm_scope != QkNormScope::kToken || a.qk_norm_eps != m.norm_eps) {
    why->push_back("its attention has qk_norm over all heads, with its norm_eps (qk_norm_scope)");
  }
  if (a.head_dim * a.num_heads != m.hidden_size) {
    why->push_back("its attention's head_dim is hidden_size / num_heads");
  }
  if (a.rotary_dim > 0) why->push_back("its attention rotates whole heads (rotary_dim)");
  if (a.window > 0) why->push_back("its attention has no window");
  if (a.qkv_bias || a.output_bias) why->push_back("its attention has no biases");
  if (a.output_gate != OutputGate::kNone) why->push_back("its attention has no output_gate");
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  std::vector<std::string> why;
  const MixerConfig* own = OwnMixer(layers, IsDelta, /*hybrid=*/true, &why);
  if (own == nullptr) return why;
  CheckDelta(*own->As<DeltaMixerConfig>(), m, &why);
  const AttentionMixerConfig* a = nullptr;
  for (const MixerConfig& mixer : layers) {
    const auto* next = mixer.As<AttentionMixerConfig>();
    if (next == nullptr || (a != nullptr && *next == *a)) continue;
    if (a != nullptr) {
      why.push_back("its config.json has room for one kind of attention");
      break;
    }
    a = next;
    CheckAttention(*a, m, &why);
  }
  if (a == nullptr) why.push_back("it has a layer of attention");
  if (m.moe.has_value()) why.push_back("it has no mixture of experts (moe)");
  if (m.mlp_bias) why.push_back("its MLP has no bias (mlp_bias)");
  return why;
}

void Write(const ModelConfig& m, json* c) {
  json& config = *c;
  DeltaMixerConfig d;
  AttentionMixerConfig a;
  json types = json::array();
  for (const MixerConfig& mixer : MixersInFull(m)) {
    const auto* delta = mixer.As<DeltaMixerConfig>();
    if (delta != nullptr) d = *delta;
    if (delta == nullptr) a = *mixer.As<AttentionMixerConfig>();
    types.push_back(delta != nullptr ? kLinear : kFull);
  }
  config["rms_norm_eps"] = m.norm_eps;
  config["hidden_act"] = "silu";
  config["attention_bias"] = false;
  config["attention_dropout"] = 0.0;
  config["layer_types"] = types;
  config["linear_num_key_heads"] = d.num_heads;
  config["linear_num_value_heads"] = d.num_value_heads;
  config["linear_key_head_dim"] = d.key_dim;
  config["linear_value_head_dim"] = d.value_dim;
  config["linear_conv_kernel_dim"] = d.conv_width;
  config["linear_allow_neg_eigval"] = d.negative_eigenvalues;
  config["num_attention_heads"] = a.num_heads;
  config["num_key_value_heads"] = a.num_kv_heads;
  if (a.rope) {
    WriteRopeTheta(a.rope_theta, c);
  } else {
    config["rope_parameters"] = nullptr;
  }
}

constexpr RenamedPart kDeltaParts[] = {{"beta_proj.", "b_proj."},
                                       {"decay_proj.", "a_proj."},
                                       {"a_log", "A_log"},
                                       {"gate_proj.", "g_proj."},
                                       {"output_norm.", "o_norm."}};

HfTensor DeltaTensor(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  const int64_t keys = d.num_heads * d.key_dim;
  const int64_t values = (d.num_value_heads > 0 ? d.num_value_heads : d.num_heads) * d.value_dim;
  for (const auto& [conv, begin] : {std::pair<absl::string_view, int64_t>{"q_conv.weight", 0},
                                    {"k_conv.weight", keys},
                                    {"v_conv.weight", 2 * keys}}) {
    if (name != conv) continue;
    HfTensor tensor{.name = "linear_attn.conv1d.weight",
                    .shape = {2 * keys + values, shape[1], shape[2]},
                    // transformers cuts what it joined into equal parts, whatever the sizes.
                    .pieces = {{"linear_attn.q_conv1d.weight", keys},
                               {"linear_attn.k_conv1d.weight", keys},
                               {"linear_attn.v_conv1d.weight", values}}};
    for (int64_t i = 0; i < shape[0]; ++i) tensor.rows.push_back(begin + i);
    return tensor;
  }
  return {.name = absl::StrCat("linear_attn.", Renamed(name, kDeltaParts)), .shape = shape};
}

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  const auto* d = mixer.As<DeltaMixerConfig>();
  if (absl::ConsumePrefix(&name, "mixer.")) {
    if (d != nullptr) return {DeltaTensor(name, shape, *d)};
    return {{.name = absl::StrCat("self_attn.", name), .shape = shape}};
  }
  // The published names of the norms, and those of transformers' own modules.
  if (name == "mixer_norm.weight") {
    return {
        {.name = d != nullptr ? "attention_layer_norm.weight" : "post_attention_layernorm.weight",
         .shape = shape,
         .other_name = d != nullptr ? "input_layernorm.weight" : "feedforward_layer_norm.weight"}};
  }
  if (name == "mlp_norm.weight") {
    return {{.name = d != nullptr ? "feedforward_layer_norm.weight"
                                  : "post_feedforward_layernorm.weight",
             .shape = shape,
             .other_name = d != nullptr ? "post_attention_layernorm.weight" : ""}};
  }
  return {{.name = std::string(name), .shape = shape}};
}

}  // namespace

const HfFamily kOlmoHybridFamily = {.model_type = "olmo_hybrid",
                                    .architecture = "OlmoHybridForCausalLM",
                                    .mixer_type = "gated_delta_net",
                                    .embedding_name = kHfEmbeddingName,
                                    .read = Read,
                                    .why_not = WhyNot,
                                    .write = Write,
                                    .layer_tensors = LayerTensors};

}  // namespace wyvern
