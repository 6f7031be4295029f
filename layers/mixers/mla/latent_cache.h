#ifndef WYVERN_LAYERS_MIXERS_MLA_LATENT_CACHE_H_
#define WYVERN_LAYERS_MIXERS_MLA_LATENT_CACHE_H_

#include "layers/mixer_cache.h"

namespace wyvern {

// The normalised latent vector of each token and behind it the part of the keys that all heads
// share, already rotated.
class LatentCache : public MixerCache {
 public:
  // Adds rows of c [n, L] and r [n, R] behind the cached ones, and returns all [tokens, L + R].
  // Memory grows geometrically.
  Tensor Append(const Tensor& c, const Tensor& r);
  void Reserve(int64_t num_tokens) override { reserved_ = num_tokens; }
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override;

 private:
  Tensor rows_;           // [capacity, L + R]
  int64_t num_rows_ = 0;  // in use
  int64_t reserved_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MLA_LATENT_CACHE_H_
