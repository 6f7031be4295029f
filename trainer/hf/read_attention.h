// The attention layers of each family's config.json.
#ifndef WYVERN_TRAINER_HF_READ_ATTENTION_H_
#define WYVERN_TRAINER_HF_READ_ATTENTION_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layers/mixers/attention/attention_config.h"
#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"

namespace wyvern {

// FLA's `attn`, null, one spec or a list: adds mixers and their layers to the model, which has one
// mixer everywhere so far. Unknown keys are appended to `unread`.
void ReadHybrid(const nlohmann::json& attn, ModelConfig* m, std::vector<std::string>* faults,
                std::vector<std::string>* unread);

// Of FLA's transformer.
AttentionMixerConfig ReadTransformerAttention(KeyReader* r);

// Of llama, in the vocabularies of transformers 4 and 5.
AttentionMixerConfig ReadLlamaAttention(KeyReader* r, std::vector<std::string>* faults,
                                        std::vector<std::string>* unread);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_READ_ATTENTION_H_
