// Hugging Face's llama, in the vocabularies of transformers 4 and 5.
#include "absl/strings/str_cat.h"
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
  m->intermediate_size = 11008;
  ReadSizes(r, m);
  r->Bool("mlp_bias", &m->mlp_bias);
  AttentionMixerConfig a{.num_heads = 32};
  ReadHeads(r, &a);
  r->Bool("attention_bias", &a.qkv_bias);
  a.output_bias = a.qkv_bias;
  a.rope_theta = ReadRopeTheta(r);
  r->Only("partial_rotary_factor", 1.0, "the whole head rotates");
  RefuseSlidingWindow(r);
  r->Only("qk_norm", false, "q and k are not normalised");
  r->Ignore({"pretraining_tp"});  // splits matmuls, changes no result
  UseEverywhere("attention", a, m);
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const std::vector<MixerConfig> layers = MixersInFull(m);
  const MixerConfig* own = OwnMixer(layers, IsAttention, /*hybrid=*/false, &why);
  if (own == nullptr) return why;
  const auto& a = *own->As<AttentionMixerConfig>();
  if (m.moe.has_value()) why.push_back("needs layers without experts (moe)");
  if (a.window > 0) why.push_back("needs attention without a window");
  CheckPlainAttention(a, &why);
  if (a.qk_norm) why.push_back("needs attention without qk_norm");
  if (a.qkv_bias != a.output_bias) {
    why.push_back("needs both of qkv_bias and output_bias or neither");
  }
  return why;
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  const AttentionMixerConfig a = *MixersInFull(m).front().As<AttentionMixerConfig>();
  WriteNormAndMlp(m, c);
  config["mlp_bias"] = m.mlp_bias;
  WriteHeads(a, c);
  config["attention_bias"] = a.qkv_bias;
  config["pretraining_tp"] = 1;
  WriteRopeTheta(a.rope_theta, c);
}

}  // namespace

const HfFamily kLlamaFamily = {.model_type = "llama",
                               .architecture = "LlamaForCausalLM",
                               .mixer_type = "attention",
                               .embedding_name = kHfEmbeddingName,
                               .read = Read,
                               .why_not = WhyNot,
                               .write = Write,
                               .layer_tensors = PlainLayerTensors};

}  // namespace wyvern
