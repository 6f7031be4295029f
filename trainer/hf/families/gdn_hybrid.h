// Hybrids of one Gated DeltaNet and one attention, as transformers' config.json describes them:
// linear_* keys, layer_types, and a convolution that joins those of q, k and v.
#ifndef WYVERN_TRAINER_HF_FAMILIES_GDN_HYBRID_H_
#define WYVERN_TRAINER_HF_FAMILIES_GDN_HYBRID_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/hf_family.h"

namespace wyvern {

// Puts attention where layer_types, else every `interval`-th layer, says full_attention, and the
// delta rule elsewhere.
void ReadHybridLayers(KeyReader* r, const DeltaMixerConfig& d, const AttentionMixerConfig& a,
                      int64_t interval, ModelConfig* m);

// The two of a model. Adds to `why` layers of other kinds, or of two of one kind, what Gated
// DeltaNet has in both families, and an MLP that neither has.
struct HybridMixers {
  std::optional<DeltaMixerConfig> delta;          // unset: the layers do not fit at all
  std::optional<AttentionMixerConfig> attention;  // unset: there is none
};
HybridMixers CheckHybrid(const ModelConfig& m, std::vector<std::string>* why);

// Adds layer_types, linear_* and the keys of the whole model. A model without attention gets the
// heads of `a`.
void WriteHybrid(const ModelConfig& m, AttentionMixerConfig a, nlohmann::json* config);

// The rows of linear_attn.conv1d.weight that hold a convolution of a layer; unset: `name` is none.
std::optional<HfTensor> JoinedConvolution(absl::string_view name, const Shape& shape,
                                          const DeltaMixerConfig& d);
// Rows of values and gates.
int64_t ValueRows(const DeltaMixerConfig& d);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_GDN_HYBRID_H_
