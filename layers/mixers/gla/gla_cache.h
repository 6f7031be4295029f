#ifndef WYVERN_LAYERS_MIXERS_GLA_GLA_CACHE_H_
#define WYVERN_LAYERS_MIXERS_GLA_GLA_CACHE_H_

#include <memory>
#include <string>

#include "layers/mixer_cache.h"

namespace wyvern {

// The state and, with convolutions, the tail of their inputs; undefined tensors stand for zeros.
class GlaCache : public MixerCache {
 public:
  void Reserve(int64_t) override {}
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override { return HeldBytes(conv) + HeldBytes(state); }
  std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const override;
  void PrepareStep(const StepMemory& memory) override;

  Tensor conv;   // [N, W - 1, channels of q, k and v]
  Tensor state;  // [N, H, K, V]
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_GLA_GLA_CACHE_H_
