#include "layers/mixers/delta/delta_cache.h"

namespace wyvern {

void DeltaCache::FillRandom(int64_t, uint64_t seed, const std::string& name) {
  // The cached tensors may be parts of others, so these are new ones.
  const auto fill = [&](Tensor* x, const char* part) {
    if (!x->defined()) return;
    *x = Tensor::EmptyLike(*x);
    wyvern::FillRandom(*x, seed, name + part);
  };
  fill(&conv, "conv");
  fill(&state, "state");
}

void DeltaCache::PrepareStep(const StepMemory& memory) {
  AddAddress(conv, memory.addresses);
  AddAddress(state, memory.addresses);
}

std::unique_ptr<MixerCache> DeltaCache::Select(absl::Span<const int64_t> sequences) const {
  auto selected = std::make_unique<DeltaCache>();
  selected->conv = CopyOfRows(conv, sequences);
  selected->state = CopyOfRows(state, sequences);
  return selected;
}

}  // namespace wyvern
