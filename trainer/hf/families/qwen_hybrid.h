// Both qwen3_next and qwen3_5: Gated DeltaNet with grouped value heads, and attention with a gate,
// normalised queries and keys, and a part of each head rotated.
#ifndef WYVERN_TRAINER_HF_FAMILIES_QWEN_HYBRID_H_
#define WYVERN_TRAINER_HF_FAMILIES_QWEN_HYBRID_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/hf_family.h"

namespace wyvern {

// Sizes, mixers and their layers; defaults that the two do not share are those of `m`.
void ReadQwenHybrid(KeyReader* r, int64_t num_kv_heads, ModelConfig* m);
std::vector<std::string> WhyNotQwenHybrid(const ModelConfig& m);
void WriteQwenHybrid(const ModelConfig& m, nlohmann::json* config);

// Where the projections of a layer's Gated DeltaNet lie, which the two store differently.
using QwenProjection = HfTensor (*)(absl::string_view name, const Shape& shape,
                                    const DeltaMixerConfig& delta);
// The tensor of a parameter of a mixer: `name` is what follows "mixer.".
HfTensor QwenMixerTensor(absl::string_view name, const Shape& shape, const MixerConfig& mixer,
                         QwenProjection projection);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_QWEN_HYBRID_H_
