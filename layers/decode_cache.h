#ifndef WYVERN_LAYERS_DECODE_CACHE_H_
#define WYVERN_LAYERS_DECODE_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "layers/mixer_cache.h"

namespace wyvern {

// The caches that layers carry from one call to the next while a sequence is continued: convolution
// tails and delta states, cached keys and values. One sequence (one document) per cache.
class DecodeCache {
 public:
  int64_t num_tokens() const { return num_tokens_; }  // consumed so far
  int64_t num_bytes() const;                          // held on the device

  // To be called before the first token, where the length is known: layers that keep something for
  // every token take the memory for this many at once, instead of twice as much as they need
  // whenever they grow.
  void Reserve(int64_t num_tokens);
  // Random values in the place of what `num_tokens` tokens would have left, for measuring what a
  // token costs that late without reading those before it. One token must have been consumed.
  void FillRandom(int64_t num_tokens, uint64_t seed);

 private:
  friend class Model;
  int64_t num_tokens_ = 0, reserved_ = 0;
  std::vector<std::unique_ptr<MixerCache>> layers_;  // empty before the first token
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_DECODE_CACHE_H_
