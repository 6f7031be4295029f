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

}  // namespace wyvern
