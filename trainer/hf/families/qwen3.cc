// Hugging Face's qwen3, the dense one: attention with normalised queries and keys, full or sliding.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/families/transformers.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

// Which layers see a window: `layer_types`, or those from max_window_layers on.
void ReadWindows(KeyReader* r, const AttentionMixerConfig& full, ModelConfig* m) {
  bool use = false;
  r->Bool("use_sliding_window", &use);
  AttentionMixerConfig sliding = full;
  sliding.window = 4096;
  int64_t first = 28;
  r->Int("max_window_layers", &first);
  const auto types =
      ReadLayerKinds(r, "layer_types", m->num_layers, "sliding_attention", "full_attention");
  if (use) r->Count("sliding_window", &sliding.window);
  if (!use) r->Ignore({"sliding_window"});  // written, and without effect
  std::vector<int64_t> layers;
  for (int64_t i = 0; i < m->num_layers; ++i) {
    if (types.has_value() ? (*types)[i] : use && i >= first) layers.push_back(i + 1);
  }
  if (!use && !layers.empty()) {
    r->Fault("layer_types", "has sliding_attention, and use_sliding_window is false");
    return;
  }
  if (static_cast<int64_t>(layers.size()) == m->num_layers) {
    UseEverywhere("sliding", sliding, m);
    return;
  }
  UseEverywhere("attention", full, m);
  if (layers.empty()) return;
  m->mixers["sliding"] = sliding;
  m->at["sliding"] = layers;
}

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 4096;
  m->num_layers = 32;
  m->intermediate_size = 22016;
  ReadSizes(r, m);
  AttentionMixerConfig a{.num_heads = 32,
                         .num_kv_heads = 32,
                         .head_dim = 128,
                         .qk_norm = true,
                         .qk_norm_eps = m->norm_eps};
  ReadHeads(r, &a);
  r->Bool("attention_bias", &a.qkv_bias);
  a.output_bias = a.qkv_bias;
  a.rope_theta = ReadRopeTheta(r);
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  ReadWindows(r, a, m);
}

AttentionMixerConfig WithoutWindow(const MixerConfig& mixer) {
  AttentionMixerConfig a = *mixer.As<AttentionMixerConfig>();
  a.window = 0;
  return a;
}

int64_t WindowOf(const std::vector<MixerConfig>& layers) {
  int64_t window = 0;
  for (const MixerConfig& mixer : layers) {
    window = std::max(window, mixer.As<AttentionMixerConfig>()->window);
  }
  return window;
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (IsAttention(layers[i])) continue;
    return {absl::StrCat("layer ", i + 1, " is ", layers[i].type().name)};
  }
  std::vector<std::string> why;
  const AttentionMixerConfig a = WithoutWindow(layers.front());
  const int64_t window = WindowOf(layers);
  for (size_t i = 1; i < layers.size(); ++i) {
    const int64_t own = layers[i].As<AttentionMixerConfig>()->window;
    if (WithoutWindow(layers[i]) == a && (own == 0 || own == window)) continue;
    why.push_back(
        absl::StrCat("needs layers 1 and ", i + 1, " alike but for the one window or none"));
    break;
  }
  if (!a.qk_norm) why.push_back("needs attention with qk_norm");
  if (a.qk_norm && a.qk_norm_eps != m.norm_eps) {
    why.push_back(
        absl::StrCat("needs a qk_norm_eps of norm_eps ", m.norm_eps, ", not ", a.qk_norm_eps));
  }
  CheckPlainAttention(a, &why);
  if (a.qkv_bias != a.output_bias) {
    why.push_back("needs both of qkv_bias and output_bias or neither");
  }
  if (m.moe.has_value()) why.push_back("needs layers without experts (moe)");
  if (m.mlp_bias) why.push_back("needs an MLP without biases (mlp_bias: false)");
  return why;
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  const std::vector<MixerConfig> layers = MixersInFull(m);
  const AttentionMixerConfig a = WithoutWindow(layers.front());
  const int64_t window = WindowOf(layers);
  nlohmann::json types = nlohmann::json::array();
  for (const MixerConfig& mixer : layers) {
    const bool slides = mixer.As<AttentionMixerConfig>()->window > 0;
    types.push_back(slides ? "sliding_attention" : "full_attention");
  }
  WriteNormAndMlp(m, c);
  WriteHeads(a, c);
  config["attention_bias"] = a.qkv_bias;
  config["layer_types"] = types;
  config["use_sliding_window"] = window > 0;
  config["sliding_window"] = WindowJson(window);
  const auto first = std::find(types.begin(), types.end(), "sliding_attention");
  config["max_window_layers"] = first - types.begin();
  WriteRopeTheta(a.rope_theta, c);
}

}  // namespace

const HfFamily kQwen3Family = {.model_type = "qwen3",
                               .architecture = "Qwen3ForCausalLM",
                               .mixer_type = "attention",
                               .embedding_name = kHfEmbeddingName,
                               .read = Read,
                               .why_not = WhyNot,
                               .write = Write,
                               .layer_tensors = PlainLayerTensors};

}  // namespace wyvern
