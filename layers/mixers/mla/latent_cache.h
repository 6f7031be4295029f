#ifndef WYVERN_LAYERS_MIXERS_MLA_LATENT_CACHE_H_
#define WYVERN_LAYERS_MIXERS_MLA_LATENT_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/mixer_cache.h"
#include "layers/row_cache.h"

namespace wyvern {

// The normalised latent vector of each token and behind it the part of the keys that all heads
// share, already rotated.
class LatentCache : public MixerCache {
 public:
  explicit LatentCache(int64_t num_sequences) : rows_(num_sequences) {}

  // Adds rows of c [T, L] and r [T, R], of tokens packed as `cu_seqlens` says, to the sequences'
  // cached ones, and returns all of them.
  struct View {
    Tensor rows;                      // [tokens, L + R] of sequence after sequence
    std::vector<int32_t> cu_seqlens;  // [N + 1]
  };
  View Append(const Tensor& c, const Tensor& r, absl::Span<const int32_t> cu_seqlens);
  // The same of a step's c and r [N, ...]: the rows of sequence i are at `ranges` of the table.
  struct StepView {
    Tensor rows;
    RowCache::Ranges ranges;
  };
  StepView AppendStep(const Tensor& c, const Tensor& r) const;
  void Reserve(int64_t num_tokens) override { rows_.Reserve(num_tokens); }
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override { return rows_.num_bytes(); }
  std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const override;
  int64_t num_step_numbers() const override { return rows_.num_step_numbers(); }
  void PrepareStep(const StepMemory& memory) override { rows_.PrepareStep(0, memory); }

 private:
  RowCache rows_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MLA_LATENT_CACHE_H_
