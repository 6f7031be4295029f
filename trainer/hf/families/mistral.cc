// Hugging Face's mistral: llama with a sliding window in every layer.
#include <optional>

#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 4096;
  m->num_layers = 32;
  m->intermediate_size = 14336;
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  ReadIntermediateSize(r, m);
  r->Real("rms_norm_eps", &m->norm_eps);
  RequireSwiGlu(r);
  AttentionMixerConfig a{.num_heads = 32, .num_kv_heads = 8, .window = 4096};
  r->Int("num_attention_heads", &a.num_heads);
  r->Count("num_key_value_heads", &a.num_kv_heads);
  r->Count("head_dim", &a.head_dim);
  if (r->IsNull("sliding_window")) a.window = 0;
  r->Count("sliding_window", &a.window);
  a.rope_theta = ReadRopeTheta(r);
  RefuseSlidingWindow(r);
  r->Only("attention_dropout", 0.0, "there is no dropout");
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("layer_types", nullptr, "all layers are alike");
  UseEverywhere("attention", a, m);
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const std::vector<MixerConfig> layers = MixersInFull(m);
  const MixerConfig* own = OwnMixer(layers, IsAttention, /*hybrid=*/false, &why);
  if (own == nullptr) return why;
  const auto& a = *own->As<AttentionMixerConfig>();
  CheckPlainAttention(a, &why);
  if (a.qk_norm) why.push_back("its attention has no qk_norm");
  if (a.qkv_bias || a.output_bias) why.push_back("its attention has no biases");
  if (m.moe.has_value()) why.push_back("it has no mixture of experts (moe)");
  if (m.mlp_bias) why.push_back("its MLP has no bias (mlp_bias)");
  return why;
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  const AttentionMixerConfig a = *MixersInFull(m).front().As<AttentionMixerConfig>();
  config["rms_norm_eps"] = m.norm_eps;
  config["hidden_act"] = "silu";
  config["num_attention_heads"] = a.num_heads;
  config["num_key_value_heads"] = a.num_kv_heads;
  config["head_dim"] = a.head_dim;
  config["sliding_window"] = WindowJson(a.window);
  config["attention_dropout"] = 0.0;
  WriteRopeTheta(a.rope_theta, c);
}

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& /*mixer*/) {
  return {{.name = Renamed(name, kHfLayerParts), .shape = shape}};
}

}  // namespace

const HfFamily kMistralFamily = {.model_type = "mistral",
                                 .architecture = "MistralForCausalLM",
                                 .mixer_type = "attention",
                                 .embedding_name = kHfEmbeddingName,
                                 .read = Read,
                                 .why_not = WhyNot,
                                 .write = Write,
                                 .layer_tensors = LayerTensors};

}  // namespace wyvern
