#ifndef WYVERN_LAYERS_MIXER_H_
#define WYVERN_LAYERS_MIXER_H_

#include <memory>

#include "layers/decode_cache.h"
#include "layers/model_config.h"
#include "layers/packing.h"
#include "layers/parameter.h"

namespace wyvern {

// What mixes tokens in a block.
class Mixer : public Module {
 public:
  // x [T, D] -> [T, D]. The caller does not use x afterwards: its memory may be given back. With a
  // cache, the one document continues the cached sequence and the cache advances.
  virtual Var Forward(Tape& tape, const Var& x, const Packing& packing,
                      LayerCache* cache) const = 0;

  static std::unique_ptr<Mixer> Create(const ModelConfig& model, const MixerConfig& mixer);
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXER_H_
