#ifndef WYVERN_LAYERS_MIXER_H_
#define WYVERN_LAYERS_MIXER_H_

#include <memory>
#include <vector>

#include "kernels/runtime/check.h"
#include "layers/mixer_cache.h"
#include "layers/packing.h"
#include "layers/parameter.h"

namespace wyvern {

// A weight that queries or keys of attention heads come from. Its first num_heads x head_rows rows
// are those of the heads, one after another; of each head h that is to have gamma_h times its
// logits the rows [begin, end) are multiplied by gamma_h^exponent.
struct QkRows {
  Parameter* parameter = nullptr;
  int64_t num_heads = 0, head_rows = 0, begin = 0, end = 0;
  double exponent = 0;
};

// The part of a block that mixes tokens.
class Mixer : public Module {
 public:
  // x [T, D] -> [T, D]. The caller does not use x afterwards: its memory may be freed. With a
  // cache, which this mixer has made, document i continues its sequence i and the cache advances.
  virtual Var Forward(Tape& tape, const Var& x, const Packing& packing,
                      MixerCache* cache) const = 0;
  virtual std::unique_ptr<MixerCache> NewCache(int64_t num_sequences) const = 0;

  // All that QK-clip (arXiv 2507.20534) scales, which changes the logits of the heads that are
  // clipped and no others; the number of heads is the same in all. Empty: the logits do not grow
  // with weights, or there are none.
  virtual std::vector<QkRows> qk_rows() const { return {}; }
  // From now on every forward that is recorded raises max_logit [H] (in the accumulation dtype) to
  // the largest logit of each head.
  void TrackMaxLogit(const Tensor& max_logit) { max_logit_ = max_logit; }

 protected:
  // `cache` as the type that NewCache makes; null stays null.
  template <class Cache>
  static Cache* Own(MixerCache* cache) {
    auto* own = dynamic_cast<Cache*>(cache);
    CHECK((own == nullptr) == (cache == nullptr), "the cache of another kind of mixer");
    return own;
  }
  // Whether a forward on this tape is to ask attention for max_logit, and what then takes it.
  bool TracksMaxLogit(const Tape& tape) const { return max_logit_.defined() && tape.recording(); }
  void RaiseMaxLogit(const Tensor& max_logit) const;

 private:
  Tensor max_logit_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXER_H_
