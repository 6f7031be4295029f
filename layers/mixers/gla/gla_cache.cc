#include "layers/mixers/gla/gla_cache.h"

namespace wyvern {

void GlaCache::FillRandom(int64_t, uint64_t seed, const std::string& name) {
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

}  // namespace wyvern
