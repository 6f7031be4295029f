#include "trainer/hf/families/transformers.h"

#include "trainer/hf/common_keys.h"

namespace wyvern {

void ReadSizes(KeyReader* r, ModelConfig* m) {
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  ReadIntermediateSize(r, m);
  r->Real("rms_norm_eps", &m->norm_eps);
  RequireSwiGlu(r);
  r->Only("attention_dropout", 0.0, "there is no dropout");
}

void ReadHeads(KeyReader* r, AttentionMixerConfig* a) {
  r->Int("num_attention_heads", &a->num_heads);
  r->Count("num_key_value_heads", &a->num_kv_heads);
  r->Count("head_dim", &a->head_dim);
}

void WriteNormAndMlp(const ModelConfig& m, nlohmann::json* config) {
  (*config)["rms_norm_eps"] = m.norm_eps;
  (*config)["hidden_act"] = "silu";
  (*config)["attention_dropout"] = 0.0;
}

void WriteHeads(const AttentionMixerConfig& a, nlohmann::json* config) {
  (*config)["num_attention_heads"] = a.num_heads;
  (*config)["num_key_value_heads"] = a.num_kv_heads > 0 ? a.num_kv_heads : a.num_heads;
  (*config)["head_dim"] = a.head_dim;
}

std::vector<HfTensor> PlainLayerTensors(absl::string_view name, const Shape& shape,
                                        const MixerConfig& /*mixer*/) {
  return {{.name = Renamed(name, kHfLayerParts), .shape = shape}};
}

}  // namespace wyvern
