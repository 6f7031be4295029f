#ifndef WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_
#define WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_

#include "layers/mixer_cache.h"

namespace wyvern {

// Keys and values already rotated and normalised, as attention reads them.
class KeyValueCache : public MixerCache {
 public:
  // Adds keys and values [n, HK, D] behind the cached ones and returns all that the new tokens
  // may see: everything, or with a window the last `window` - 1 before them and the new ones. What
  // no later token can see is dropped. Memory grows geometrically.
  struct View {
    Tensor keys, values;
  };
  View Append(const Tensor& keys, const Tensor& values, int64_t window);
  void Reserve(int64_t num_tokens) override { reserved_ = num_tokens; }
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override;

 private:
  Tensor keys_, values_;         // [capacity, HK, D]
  int64_t begin_ = 0, end_ = 0;  // rows in use
  int64_t reserved_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_
