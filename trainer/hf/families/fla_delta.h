// Keys of FLA's families of the delta rule.
#ifndef WYVERN_TRAINER_HF_FAMILIES_FLA_DELTA_H_
#define WYVERN_TRAINER_HF_FAMILIES_FLA_DELTA_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "layers/mixers/delta/delta_config.h"
#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"

namespace wyvern {

// Heads, convolution and negative eigenvalues.
void ReadDeltaKeys(KeyReader* r, DeltaMixerConfig* d);
void WriteDeltaKeys(const DeltaMixerConfig& d, nlohmann::json* config);

// head_dim, num_v_heads and expand_v of gated_deltanet and kda; `expand_v` is the default.
void ReadGatedHeads(KeyReader* r, double expand_v, DeltaMixerConfig* d);
void WriteGatedHeads(const DeltaMixerConfig& d, nlohmann::json* config);

// int(total * expand), as the library computes widths; 0 with a fault of `key` if it is none.
int64_t ExpandedWidth(KeyReader* r, const char* key, int64_t total, double expand);
// A factor e with int(total * e) == width in floating point, as the readers compute it; NaN if the
// quotient and its neighbours miss it.
double ExpandFactor(int64_t total, int64_t width);
// The reason not to write a mixer for which ExpandFactor gives NaN.
std::string NoExpandFactor(const DeltaMixerConfig& d);

// The mixer that a model's layers of the delta rule share, with every default written out. Requires
// one.
DeltaMixerConfig DeltaMixerOf(const ModelConfig& m);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_FLA_DELTA_H_
