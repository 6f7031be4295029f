// What each kind of layer keeps while a sequence is continued.
#ifndef WYVERN_LAYERS_MIXERS_DECODE_CACHE_H_
#define WYVERN_LAYERS_MIXERS_DECODE_CACHE_H_

#include <string>
#include <vector>

#include "layers/model.h"

namespace wyvern {

// Keys and values already rotated and normalised, as attention reads them.
class KeyValueCache {
 public:
  // Adds keys and values [n, HK, D] behind the cached ones and gives back all that the new tokens
  // may see: everything, or with a window the last `window` - 1 before them and the new ones. What
  // no later token can see is dropped. Memory grows geometrically.
  struct View {
    Tensor keys, values;
  };
  View Append(const Tensor& keys, const Tensor& values, int64_t window);
  // The next growth makes room for `tokens` at least and, where that is enough, no more.
  void Reserve(int64_t tokens) { reserved_ = tokens; }
  // As if `tokens` had been added, of random values; one must have been.
  void FillRandom(int64_t tokens, uint64_t seed, const std::string& name);

  int64_t num_bytes() const;

 private:
  Tensor keys_, values_;         // [capacity, HK, D]
  int64_t begin_ = 0, end_ = 0;  // rows in use
  int64_t reserved_ = 0;
};

// Of latent attention: the normalised latent vector of each token and behind it the part of the
// keys that all heads share, already rotated.
class LatentCache {
 public:
  // Adds rows of c [n, L] and r [n, R] behind the cached ones, and gives back all [tokens, L + R].
  // Memory grows geometrically.
  Tensor Append(const Tensor& c, const Tensor& r);
  // As of KeyValueCache.
  void Reserve(int64_t tokens) { reserved_ = tokens; }
  void FillRandom(int64_t tokens, uint64_t seed, const std::string& name);

  int64_t num_bytes() const;

 private:
  Tensor rows_;           // [capacity, L + R]
  int64_t num_rows_ = 0;  // in use
  int64_t reserved_ = 0;
};

// Of a delta-rule mixer; undefined tensors stand for zeros.
struct DeltaState {
  Tensor conv;   // [1, W - 1, channels of q, k and v]
  Tensor state;  // [1, HV, K, V]

  void FillRandom(uint64_t seed, const std::string& name);
  int64_t num_bytes() const;
};

// Of one layer; its mixer uses the member of its kind.
struct LayerCache {
  DeltaState delta;
  KeyValueCache attention;
  LatentCache latent;
};

struct DecodeCache::Impl {
  int64_t num_tokens = 0, reserved = 0;
  std::vector<LayerCache> layers;

  // Makes the layers' caches if they are not there yet.
  void SetNumLayers(size_t count);
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_DECODE_CACHE_H_
