// Keys of config.json that several families share.
#ifndef WYVERN_TRAINER_HF_COMMON_KEYS_H_
#define WYVERN_TRAINER_HF_COMMON_KEYS_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"

namespace wyvern {

// Passes over what any config.json may carry without bearing on a decoder's mathematics:
// provenance, generation defaults, classification heads, storage.
void IgnoreCommonKeys(KeyReader* r);

// Refuses what changes the model's function in relatives of the families, and is served in none;
// but for the key `passed_over`, if it is not null.
void RefuseAlterations(KeyReader* r, const char* passed_over);

// Vocabulary, tying, padding and the spread of initial weights.
void ReadVocabulary(KeyReader* r, ModelConfig* m);

// intermediate_size, which must be positive; absent: the model's so far.
void ReadIntermediateSize(KeyReader* r, ModelConfig* m);

// hidden_act, of which SwiGLU has two names.
void RequireSwiGlu(KeyReader* r);

// window_size: tokens that attention sees, itself included; null: all. Written as read.
int64_t ReadWindow(KeyReader* r);
nlohmann::json WindowJson(int64_t window);

// use_sliding_window, which is refused in families whose layers have no window.
void RefuseSlidingWindow(KeyReader* r);

// The base of rotary embeddings that are not scaled. transformers 5 writes rope_parameters
// {rope_type, rope_theta, ...}; version 4 wrote rope_theta, partial_rotary_factor and rope_scaling
// {rope_type or type, ...}. Without `partial_rotary_factor` the whole head must rotate. `theta`:
// without any.
double ReadRopeTheta(KeyReader* r, std::optional<double>* partial_rotary_factor = nullptr,
                     double theta = 10000);
// Adds the keys of both versions; a factor of 1 is left out.
void WriteRopeTheta(double theta, nlohmann::json* config, double partial_rotary_factor = 1);

// A list that names one of two kinds for every layer: whether it is the first one. Unset: absent,
// or a fault.
std::optional<std::vector<bool>> ReadLayerKinds(KeyReader* r, const char* key, int64_t num_layers,
                                                const char* first, const char* second);
// first_dense and every of `moe` that put experts where `sparse` says; false if none do. Numbers
// that it has stay if they do: others may do the same.
bool FindExpertLayers(const std::vector<bool>& sparse, MoeConfig* moe);

// Makes one mixer stand in all layers.
void UseEverywhere(const std::string& name, MixerConfig mixer, ModelConfig* m);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_COMMON_KEYS_H_
