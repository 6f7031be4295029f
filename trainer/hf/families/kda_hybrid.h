// Keys, layers and names that the families of KDA and MLA share: kimi_linear and bailing_hybrid.
#ifndef WYVERN_TRAINER_HF_FAMILIES_KDA_HYBRID_H_
#define WYVERN_TRAINER_HF_FAMILIES_KDA_HYBRID_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {

// A size that has no default: the library's own are another model's.
void ReadSize(KeyReader* r, const char* key, int64_t* value);

// Heads, ranks and dims of MLA.
void ReadMla(KeyReader* r, MlaMixerConfig* mla);
void WriteMla(const MlaMixerConfig& mla, nlohmann::json* config);

// Puts MLA into the layers of these numbers, from 1, and KDA into the others.
void UseKdaAndMla(const DeltaMixerConfig& kda, const MlaMixerConfig& mla,
                  const std::set<int64_t>& full_layers, ModelConfig* m);

// Puts experts into the layers that `sparse` gives, unless it gives none. Without a list it is
// `moe` that says where.
void UseExperts(KeyReader* r, const std::optional<std::vector<bool>>& sparse, MoeConfig moe,
                ModelConfig* m);

// Each kind's mixer, with every default written out; unset: no layer has one.
struct KdaHybridMixers {
  std::optional<DeltaMixerConfig> kda;
  std::optional<MlaMixerConfig> mla;
};
// Adds to `why` what no family of this kind does.
KdaHybridMixers CheckKdaHybrid(const ModelConfig& m, std::vector<std::string>* why);
// Requires a model of these two mixers.
KdaHybridMixers KdaHybridMixersOf(const ModelConfig& m);

// "linear_attention" or "full_attention", and "dense" or "sparse", of each layer.
nlohmann::json LayerTypes(const ModelConfig& m);
nlohmann::json MlpLayerTypes(const ModelConfig& m);

// The parts of both mixers' names that follow "mixer.", but those of low-rank projections.
inline constexpr RenamedPart kKdaHybridParts[] = {{"q_conv.", "q_conv1d."},
                                                  {"k_conv.", "k_conv1d."},
                                                  {"v_conv.", "v_conv1d."},
                                                  {"beta_proj.", "b_proj."},
                                                  {"a_log", "A_log"},
                                                  {"gate_proj.", "g_proj."},
                                                  {"output_norm.", "o_norm."},
                                                  {"kv_a_proj.", "kv_a_proj_with_mqa."},
                                                  {"kv_norm.", "kv_a_layernorm."},
                                                  {"q_norm.", "q_a_layernorm."}};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_KDA_HYBRID_H_
