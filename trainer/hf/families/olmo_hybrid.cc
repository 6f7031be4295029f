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
#include "trainer/hf/families/gdn_hybrid.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/families/transformers.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

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
  ReadSizes(r, m);
  RefuseSlidingWindow(r);
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("head_dim", nullptr, "it is hidden_size / num_attention_heads");
  int64_t num_heads = 30;
  r->Count("num_attention_heads", &num_heads);
  const DeltaMixerConfig d = ReadDelta(r, *m, num_heads);
  const AttentionMixerConfig a = ReadAttention(r, *m, num_heads);
  ReadHybridLayers(r, d, a, /*interval=*/4, m);
  if (m->num_layers >= 1 && m->mixers.size() < 2) {
    r->Fault("layer_types", "expected layers of both linear_attention and full_attention");
  }
}

void CheckAttention(const AttentionMixerConfig& a, const ModelConfig& m,
                    std::vector<std::string>* why) {
  if (!a.post_norm) why->push_back("needs attention layers that are post-norm (post_norm: true)");
  if (!a.qk_norm || a.qk_norm_scope != QkNormScope::kToken || a.qk_norm_eps != m.norm_eps) {
    why->push_back(
        "needs attention with qk_norm over all heads, of the model's norm_eps (qk_norm_scope)");
  }
  if (a.head_dim * a.num_heads != m.hidden_size) {
    why->push_back("needs attention whose head_dim is hidden_size / num_heads");
  }
  if (a.rotary_dim > 0) why->push_back("needs attention that rotates whole heads (rotary_dim)");
  if (a.output_gate != OutputGate::kNone) why->push_back("needs attention without an output_gate");
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const HybridMixers mixers = CheckHybrid(m, &why);
  if (!mixers.delta.has_value()) return why;
  if (mixers.delta->output_norm_eps.value_or(m.norm_eps) != kOutputNormEps) {
    why.push_back(absl::StrCat("needs output norms with an output_norm_eps of ", kOutputNormEps));
  }
  if (mixers.attention.has_value()) {
    CheckAttention(*mixers.attention, m, &why);
  } else {
    why.push_back("needs a layer of attention");
  }
  if (m.moe.has_value()) why.push_back("needs layers without experts (moe)");
  return why;
}

void Write(const ModelConfig& m, nlohmann::json* config) {
  WriteHybrid(m, {}, config);
  config->erase("head_dim");  // hidden_size / num_attention_heads
  for (const MixerConfig& mixer : MixersInFull(m)) {
    const auto* d = mixer.As<DeltaMixerConfig>();
    if (d != nullptr) (*config)["linear_allow_neg_eigval"] = d->negative_eigenvalues;
  }
}

constexpr RenamedPart kDeltaParts[] = {{"beta_proj.", "b_proj."},
                                       {"decay_proj.", "a_proj."},
                                       {"a_log", "A_log"},
                                       {"gate_proj.", "g_proj."},
                                       {"output_norm.", "o_norm."}};

HfTensor DeltaTensor(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  if (std::optional<HfTensor> convolution = JoinedConvolution(name, shape, d)) {
    // transformers cuts what it joined into equal parts, whatever the sizes.
    const int64_t keys = d.num_heads * d.key_dim;
    convolution->pieces = {{"linear_attn.q_conv1d.weight", keys},
                           {"linear_attn.k_conv1d.weight", keys},
                           {"linear_attn.v_conv1d.weight", ValueRows(d)}};
    return *std::move(convolution);
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
