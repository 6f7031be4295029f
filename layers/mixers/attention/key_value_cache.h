#ifndef WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_
#define WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/mixer_cache.h"
#include "layers/row_cache.h"

namespace wyvern {

// Keys and values already rotated and normalised, as attention reads them.
class KeyValueCache : public MixerCache {
 public:
  explicit KeyValueCache(int64_t num_sequences) : rows_(num_sequences) {}

  // Adds the keys and values [T, HK, D] of tokens packed as `cu_seqlens` says to the sequences'
  // cached ones, and returns all that the new tokens may see: everything, or with a window the last
  // `window` - 1 before them and the new ones. What no later token can see is dropped.
  struct View {
    Tensor keys, values;              // of sequence after sequence
    std::vector<int32_t> cu_seqlens;  // [N + 1]
  };
  View Append(const Tensor& keys, const Tensor& values, absl::Span<const int32_t> cu_seqlens,
              int64_t window);
  void Reserve(int64_t num_tokens) override { rows_.Reserve(num_tokens); }
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override { return rows_.num_bytes(); }
  std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const override;

 private:
  RowCache rows_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_
