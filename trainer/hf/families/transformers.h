// Keys and names that transformers' own families share, as fla.h has those of FLA's.
#ifndef WYVERN_TRAINER_HF_FAMILIES_TRANSFORMERS_H_
#define WYVERN_TRAINER_HF_FAMILIES_TRANSFORMERS_H_

#include <nlohmann/json.hpp>
#include <vector>

#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/hf_family.h"

namespace wyvern {

// Sizes, the norms' epsilon and the MLP's activation; absent ones stay. Dropout is refused.
void ReadSizes(KeyReader* r, ModelConfig* m);
// Heads of attention and their dimension.
void ReadHeads(KeyReader* r, AttentionMixerConfig* a);
// The keys of both that not all families of Wyvern share.
void WriteNormAndMlp(const ModelConfig& m, nlohmann::json* config);
void WriteHeads(const AttentionMixerConfig& a, nlohmann::json* config);

// Layers whose parameters have the names of kHfLayerParts.
std::vector<HfTensor> PlainLayerTensors(absl::string_view name, const Shape& shape,
                                        const MixerConfig& mixer);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_TRANSFORMERS_H_
