// FLA's transformer: attention with RoPE, windows and a norm of queries and keys.
#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/fla.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

void Read(KeyReader* r, ModelConfig* m) {
  ReadFlaSizes(r, m);
  AttentionMixerConfig a{.num_heads = 32};
  r->Int("num_heads", &a.num_heads);
  r->Count("num_kv_heads", &a.num_kv_heads);
  r->Bool("qkv_bias", &a.qkv_bias);
  r->Bool("qk_norm", &a.qk_norm);  // of eps 1e-5, our default, whatever norm_eps says
  a.window = ReadWindow(r);
  r->Real("rope_theta", &a.rope_theta);
  r->Only("elementwise_affine", true, "norms have gains");
  UseEverywhere("attention", a, m);
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  const auto check = [](const ModelConfig&, const MixerConfig&, std::vector<std::string>*) {};
  return WhyNotFla(m, IsAttention, /*hybrid=*/false, check);
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  const AttentionMixerConfig a = *MixersInFull(m).front().As<AttentionMixerConfig>();
  WriteFlaSizes(m, c);
  config["num_heads"] = a.num_heads;
  config["num_kv_heads"] = a.num_kv_heads;
  config["qkv_bias"] = a.qkv_bias;
  config["qk_norm"] = a.qk_norm;
  config["window_size"] = WindowJson(a.window);
  config["rope_theta"] = a.rope_theta;
  config["elementwise_affine"] = true;
}

}  // namespace

const HfFamily kTransformerFamily = {.model_type = "transformer",
                                     .architecture = "TransformerForCausalLM",
                                     .mixer_type = "attention",
                                     .embedding_name = kFlaEmbeddingName,
                                     .read = Read,
                                     .why_not = WhyNot,
                                     .write = Write,
                                     .layer_tensors = FlaLayerTensors};

}  // namespace wyvern
