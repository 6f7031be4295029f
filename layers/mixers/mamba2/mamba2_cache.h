#ifndef WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_CACHE_H_
#define WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_CACHE_H_

#include <memory>
#include <string>

#include "layers/mixer_cache.h"

namespace wyvern {

// The state and the tail of the convolution's inputs; undefined tensors stand for zeros.
class Mamba2Cache : public MixerCache {
 public:
  void Reserve(int64_t) override {}
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override { return HeldBytes(conv) + HeldBytes(state); }
  std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const override;
  void PrepareStep(const StepMemory& memory) override;

  Tensor conv;   // [S, W - 1, H P + 2 G N], S sequences
  Tensor state;  // [S, H, N, P]
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_CACHE_H_
