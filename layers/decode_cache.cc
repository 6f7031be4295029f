#include "layers/decode_cache.h"

#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"

namespace wyvern {

void DecodeCache::Reserve(int64_t num_tokens) {
  CHECK(layers_.empty(), "the cache is in use");
  reserved_ = num_tokens;
}

void DecodeCache::FillRandom(int64_t num_tokens, uint64_t seed) {
  CHECK(num_tokens_ > 0, "no token has been consumed");
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i]->FillRandom(num_tokens, seed, absl::StrCat("cache.", i, "."));
  }
  num_tokens_ = num_tokens;
}

int64_t DecodeCache::num_bytes() const {
  int64_t bytes = 0;
  for (const auto& layer : layers_) bytes += layer->num_bytes();
  return bytes;
}

}  // namespace wyvern
