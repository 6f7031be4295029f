// Hugging Face's mistral: llama with a sliding window in every layer.
#include <optional>

#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/families/transformers.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 4096;
  m->num_layers = 32;
  m->intermediate_size = 14336;
  ReadSizes(r, m);
  AttentionMixerConfig a{.num_heads = 32, .num_kv_heads = 8, .window = 4096};
  ReadHeads(r, &a);
  if (r->IsNull("sliding_window")) a.window = 0;
  r->Count("sliding_window", &a.window);
  a.rope_theta = ReadRopeTheta(r);
  RefuseSlidingWindow(r);
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
  if (a.qk_norm) why.push_back("needs attention without qk_norm");
  if (a.qkv_bias || a.output_bias) {
    why.push_back("needs attention without biases (qkv_bias, output_bias)");
  }
  if (m.moe.has_value()) why.push_back("needs layers without experts (moe)");
  if (m.mlp_bias) why.push_back("needs an MLP without biases (mlp_bias: false)");
  return why;
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  const AttentionMixerConfig a = *MixersInFull(m).front().As<AttentionMixerConfig>();
  WriteNormAndMlp(m, c);
  WriteHeads(a, c);
  config["sliding_window"] = WindowJson(a.window);
  WriteRopeTheta(a.rope_theta, c);
}

}  // namespace

const HfFamily kMistralFamily = {.model_type = "mistral",
                                 .architecture = "MistralForCausalLM",
                                 .mixer_type = "attention",
                                 .embedding_name = kHfEmbeddingName,
                                 .read = Read,
                                 .why_not = WhyNot,
                                 .write = Write,
                                 .layer_tensors = PlainLayerTensors};

}  // namespace wyvern
