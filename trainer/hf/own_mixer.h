// Whether a config.json that describes one mixer fits a model's layers.
#ifndef WYVERN_TRAINER_HF_OWN_MIXER_H_
#define WYVERN_TRAINER_HF_OWN_MIXER_H_

#include <string>
#include <vector>

#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/model_config.h"

namespace wyvern {

// Each layer's mixer with every default written out, so that equal mixers compare equal.
std::vector<MixerConfig> MixersInFull(const ModelConfig& m);

bool IsAttention(const MixerConfig& mixer);
bool IsDelta(const MixerConfig& mixer);

// Adds to `why` that all families' libraries normalise q and k of the delta rule alike.
void CheckL2Norm(const DeltaMixerConfig& d, std::vector<std::string>* why);
// Adds to `why` what the attention of transformers' llama and its kin does not do.
void CheckPlainAttention(const AttentionMixerConfig& a, std::vector<std::string>* why);

// The mixer of the layers that `is_own` accepts, of which config.json has room for one. Other
// layers may only be attention, and only in a hybrid. Adds to `why` what does not fit. Null: the
// layers do not fit at all, and there is nothing more to say of the model.
const MixerConfig* OwnMixer(const std::vector<MixerConfig>& layers,
                            bool (*is_own)(const MixerConfig&), bool hybrid,
                            std::vector<std::string>* why);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_OWN_MIXER_H_
