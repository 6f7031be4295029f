// Small configurations that together use every kind of layer.
#ifndef WYVERN_TESTS_LAYERS_TINY_MODELS_H_
#define WYVERN_TESTS_LAYERS_TINY_MODELS_H_

#include <map>
#include <string>
#include <vector>

#include "layers/model.h"

namespace wyvern {

// A model of the given mixers in turn, hidden size 8. The wide initialisation makes every part
// matter.
ModelConfig TinyModel(std::vector<MixerConfig> mixers);

// One named configuration per kind of layer, and one that mixes them.
std::map<std::string, ModelConfig> TinyModels();
std::vector<std::string> TinyModelNames();
ModelConfig TinyModelNamed(const std::string& name);

// `count` token ids below `vocab_size`, a function of `seed`.
std::vector<int32_t> TinyIds(int64_t count, int64_t vocab_size, uint64_t seed);

Tensor IdTensor(const std::vector<int32_t>& ids);

}  // namespace wyvern

#endif  // WYVERN_TESTS_LAYERS_TINY_MODELS_H_
