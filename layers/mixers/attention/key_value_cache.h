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
  // `window` is the mixer's.
  KeyValueCache(int64_t num_sequences, int64_t window) : rows_(num_sequences), window_(window) {}

  // Adds the keys and values [T, HK, D] of tokens packed as `cu_seqlens` says to the sequences'
  // cached ones, and returns all that the new tokens may see: everything, or with a window the last
  // `window` - 1 before them and the new ones. What no later token can see is dropped.
  struct View {
    Tensor keys, values;              // of sequence after sequence
    std::vector<int32_t> cu_seqlens;  // [N + 1]
  };
  View Append(const Tensor& keys, const Tensor& values, absl::Span<const int32_t> cu_seqlens);
  // The same of a step's keys and values [N, HK, D], which may be columns: those of sequence i are
  // at `ranges` of the tables.
  struct StepView {
    Tensor keys, values;
    RowCache::Ranges ranges;
  };
  StepView AppendStep(const Tensor& keys, const Tensor& values) const;
  void Reserve(int64_t num_tokens) override { rows_.Reserve(num_tokens); }
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override { return rows_.num_bytes(); }
  std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const override;
  int64_t num_step_numbers() const override { return rows_.num_step_numbers(); }
  void PrepareStep(const StepMemory& memory) override { rows_.PrepareStep(window_, memory); }

 private:
  RowCache rows_;
  int64_t window_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_ATTENTION_KEY_VALUE_CACHE_H_
