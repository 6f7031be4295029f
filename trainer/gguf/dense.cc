// llama and qwen3: attention and MLPs alone.
#include "layers/mixers/attention/attention_config.h"
#include "trainer/gguf/architecture.h"
#include "trainer/hf/own_mixer.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

std::vector<std::string> WhyNotLlama(const ModelConfig& /*m*/) { return {}; }

std::vector<std::string> WhyNotQwen3(const ModelConfig& m) {
  for (const MixerConfig& mixer : MixersInFull(m)) {
    const auto& a = *mixer.As<AttentionMixerConfig>();
    if (a.window > 0) return {"needs attention without a window"};
    if (a.qkv_bias || a.output_bias) {
      return {"needs attention without biases (qkv_bias, output_bias)"};
    }
  }
  return {};
}

std::vector<std::string> NoWarnings(const ModelConfig& /*m*/) { return {}; }

void Write(const ModelConfig& m, GgufKeys* keys) {
  const AttentionMixerConfig a = *MixersInFull(m).front().As<AttentionMixerConfig>();
  keys->Count("attention.head_count", a.num_heads);
  keys->Count("attention.head_count_kv", a.num_kv_heads);
  keys->Count("attention.key_length", a.head_dim);
  keys->Count("attention.value_length", a.head_dim);
  keys->Count("rope.dimension_count", a.head_dim);
  keys->Real("rope.freq_base", a.rope_theta);
}

// llama.cpp rotates neighbouring dims of a llama's head, ours lie half a head apart.
std::vector<int64_t> NeighbouringRows(int64_t num_heads, int64_t head_dim) {
  std::vector<int64_t> rows;
  for (int64_t h = 0; h < num_heads; ++h) {
    for (int64_t i = 0; i < head_dim; ++i) {
      rows.push_back(h * head_dim + i % (head_dim / 2) * 2 + i / (head_dim / 2));
    }
  }
  return rows;
}

std::vector<GgufPart> LlamaParts(absl::string_view name, const Shape& shape,
                                 const MixerConfig& mixer) {
  GgufPart part = PlainGgufPart(name, shape);
  if (name == "mixer.q_proj.weight" || name == "mixer.q_proj.bias" ||
      name == "mixer.k_proj.weight" || name == "mixer.k_proj.bias") {
    const int64_t head_dim = mixer.As<AttentionMixerConfig>()->head_dim;
    part.rows = NeighbouringRows(shape[0] / head_dim, head_dim);
  }
  return {part};
}

std::vector<GgufPart> Qwen3Parts(absl::string_view name, const Shape& shape,
                                 const MixerConfig& /*mixer*/) {
  return {PlainGgufPart(name, shape)};
}

}  // namespace

const GgufArchitecture kGgufLlama = {.name = "llama",
                                     .family = "llama",
                                     .why_not = WhyNotLlama,
                                     .warnings = NoWarnings,
                                     .write = Write,
                                     .layer_parts = LlamaParts};
const GgufArchitecture kGgufQwen3 = {.name = "qwen3",
                                     .family = "qwen3",
                                     .why_not = WhyNotQwen3,
                                     .warnings = NoWarnings,
                                     .write = Write,
                                     .layer_parts = Qwen3Parts};

}  // namespace wyvern
