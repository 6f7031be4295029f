#ifndef WYVERN_LAYERS_DECODE_CACHE_H_
#define WYVERN_LAYERS_DECODE_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "layers/mixer_cache.h"
#include "layers/packing.h"

namespace wyvern {

// The caches that layers carry from one call to the next while sequences are continued: convolution
// tails and delta states, cached keys and values. Sequence i is document i of every call.
class DecodeCache {
 public:
  explicit DecodeCache(int64_t num_sequences = 1);

  int64_t num_sequences() const { return static_cast<int64_t>(num_tokens_.size()); }
  int64_t num_tokens(int64_t sequence = 0) const;  // consumed so far
  int64_t num_bytes() const;                       // held on the device

  // The packing of the next call, which continues each sequence by so many tokens; 0: not at all.
  Packing Next(absl::Span<const int64_t> lengths, Device device) const;

  // A cache whose sequence i continues sequences[i] of this one. A sequence that comes several
  // times is continued in several ways; one that does not come is dropped. This one stays as it is.
  DecodeCache Select(absl::Span<const int64_t> sequences) const;

  // To be called before the first token, where the length is known: layers that keep something for
  // every token take the memory for this many of each sequence at once, instead of twice as much as
  // they need whenever they grow.
  void Reserve(int64_t num_tokens);
  // Random values in the place of what `num_tokens` tokens of the one sequence would have left, for
  // measuring what a token costs that late without reading those before it. One token must have
  // been consumed.
  void FillRandom(int64_t num_tokens, uint64_t seed);

 private:
  friend class DecodeGraph;
  friend class Model;
  std::vector<int64_t> num_tokens_;  // of each sequence
  int64_t reserved_ = 0;
  std::vector<std::unique_ptr<MixerCache>> layers_;  // empty before the first token
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_DECODE_CACHE_H_
