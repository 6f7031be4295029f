// Hugging Face's qwen3_5_text, the language model of Qwen3.5: the hybrid of qwen_hybrid.h without
// experts, whose projections of Gated DeltaNet are four matrices.
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/families/gdn_hybrid.h"
#include "trainer/hf/families/qwen_hybrid.h"
#include "trainer/hf/families/registry.h"

namespace wyvern {
namespace {

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 4096;
  m->num_layers = 32;
  m->intermediate_size = 12288;
  ReadQwenHybrid(r, /*num_kv_heads=*/4, m);
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why = WhyNotQwenHybrid(m);
  if (m.moe.has_value()) why.push_back("needs layers without experts (moe)");
  return why;
}

// in_proj_qkv: the queries of all heads, their keys, the values.
HfTensor Projection(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  const int64_t keys = d.num_heads * d.key_dim;
  const int64_t values = ValueRows(d);
  const auto of_qkv = [&](int64_t begin) {
    return HfTensor{.name = "linear_attn.in_proj_qkv.weight",
                    .shape = {2 * keys + values, shape[1]},
                    .rows = RowRange(begin, shape[0])};
  };
  if (name == "q_proj.weight") return of_qkv(0);
  if (name == "k_proj.weight") return of_qkv(keys);
  if (name == "v_proj.weight") return of_qkv(2 * keys);
  const char* theirs = name == "beta_proj.weight"    ? "linear_attn.in_proj_b.weight"
                       : name == "decay_proj.weight" ? "linear_attn.in_proj_a.weight"
                                                     : "linear_attn.in_proj_z.weight";
  return {.name = theirs, .shape = shape};
}

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  if (absl::ConsumePrefix(&name, "mixer.")) {
    return {QwenMixerTensor(name, shape, mixer, Projection)};
  }
  return {{.name = Renamed(name, kHfLayerParts), .shape = shape}};
}

}  // namespace

const HfFamily kQwen35Family = {.model_type = "qwen3_5_text",
                                .architecture = "Qwen3_5ForCausalLM",
                                .mixer_type = "gated_delta_net",
                                .embedding_name = kHfEmbeddingName,
                                .zero_centered_norms = true,
                                .read = Read,
                                .why_not = WhyNot,
                                .write = WriteQwenHybrid,
                                .layer_tensors = LayerTensors};

}  // namespace wyvern
