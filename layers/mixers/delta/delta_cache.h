#ifndef WYVERN_LAYERS_MIXERS_DELTA_DELTA_CACHE_H_
#define WYVERN_LAYERS_MIXERS_DELTA_DELTA_CACHE_H_

#include <memory>
#include <string>

#include "layers/mixer_cache.h"

namespace wyvern {

// The state of the delta rule and the tail of the convolutions' inputs; undefined tensors stand for
// zeros.
class DeltaCache : public MixerCache {
 public:
  void Reserve(int64_t) override {}
  void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) override;
  int64_t num_bytes() const override { return HeldBytes(conv) + HeldBytes(state); }
  std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const override;
  void PrepareStep(const StepMemory& memory) override;

  Tensor conv;   // [N, W - 1, channels of q, k and v]
  Tensor state;  // [N, HV, K, V]
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_DELTA_DELTA_CACHE_H_
