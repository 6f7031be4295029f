// config.json of kimi_linear, in the vocabularies of the published files and of transformers 5.
#ifndef WYVERN_TRAINER_HF_KIMI_CONFIG_H_
#define WYVERN_TRAINER_HF_KIMI_CONFIG_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"

namespace wyvern {

// Sizes, mixers and experts of the model; its vocabulary has been read.
void ReadKimi(KeyReader* r, ModelConfig* m, std::vector<std::string>* faults,
              std::vector<std::string>* unread);

// What of the model its config.json cannot express; `layers` with every default written out.
std::vector<std::string> WhyNotKimi(const ModelConfig& m, const std::vector<MixerConfig>& layers);

// Adds its keys to `config`. WhyNotKimi is empty.
void WriteKimi(const ModelConfig& m, const std::vector<MixerConfig>& layers,
               nlohmann::json* config);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_KIMI_CONFIG_H_
