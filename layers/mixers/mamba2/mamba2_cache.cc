#include "layers/mixers/mamba2/mamba2_cache.h"

namespace wyvern {

void Mamba2Cache::FillRandom(int64_t, uint64_t seed, const std::string& name) {
  // The cached tensors may be parts of others, so new ones take their place.
  if (conv.defined()) {
    conv = Tensor::EmptyLike(conv);
    wyvern::FillRandom(conv, seed, name + "conv");
  }
  if (state.defined()) {
    state = Tensor::EmptyLike(state);
    wyvern::FillRandom(state, seed, name + "state");
  }
}

void Mamba2Cache::PrepareStep(const StepMemory& memory) {
  AddAddress(conv, memory.addresses);
  AddAddress(state, memory.addresses);
}

std::unique_ptr<MixerCache> Mamba2Cache::Select(absl::Span<const int64_t> sequences) const {
  auto selected = std::make_unique<Mamba2Cache>();
  selected->conv = CopyOfRows(conv, sequences);
  selected->state = CopyOfRows(state, sequences);
  return selected;
}

}  // namespace wyvern
