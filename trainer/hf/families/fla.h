// Shared by the families of flash-linear-attention ("FLA"): sizes, names, and hybrids, whose key
// `attn` puts attention into some layers.
#ifndef WYVERN_TRAINER_HF_FAMILIES_FLA_H_
#define WYVERN_TRAINER_HF_FAMILIES_FLA_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {

inline constexpr char kFlaEmbeddingName[] = "model.embeddings.weight";

// Sizes, norms and the MLP.
void ReadFlaSizes(KeyReader* r, ModelConfig* m);
void WriteFlaSizes(const ModelConfig& m, nlohmann::json* config);

// `attn`: null, one spec or a list. Adds attention mixers and their layers to a model that has one
// mixer everywhere so far.
void ReadFlaHybrid(KeyReader* r, ModelConfig* m);
void WriteFlaHybrid(const ModelConfig& m, nlohmann::json* config);

// Why the family whose mixers `is_own` accepts cannot express the model. `check` adds what of
// its mixer it cannot; in a hybrid other layers may be attention.
using CheckFlaMixer = void (*)(const ModelConfig& m, const MixerConfig& mixer,
                               std::vector<std::string>* why);
std::vector<std::string> WhyNotFla(const ModelConfig& m, bool (*is_own)(const MixerConfig&),
                                   bool hybrid, CheckFlaMixer check);

// HfFamily::layer_tensors of all of them.
std::vector<HfTensor> FlaLayerTensors(absl::string_view name, const Shape& shape,
                                      const MixerConfig& mixer);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_FLA_H_
