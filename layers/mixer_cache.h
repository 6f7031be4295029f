#ifndef WYVERN_LAYERS_MIXER_CACHE_H_
#define WYVERN_LAYERS_MIXER_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "autograd/tensor.h"

namespace wyvern {

// The state that one mixer carries from one call to the next while N sequences are continued
// (Mixer::NewCache). Empty at first.
class MixerCache {
 public:
  virtual ~MixerCache() = default;
  // Before the first token: a cache that keeps something for every token will take the memory of so
  // many of each sequence at once.
  virtual void Reserve(int64_t num_tokens) = 0;
  // Random values, a pure function of seed and name, in the place of what `num_tokens` tokens of
  // the one sequence would have left. One token must have been consumed.
  virtual void FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) = 0;
  virtual int64_t num_bytes() const = 0;  // held on the device
  // A cache whose sequence i continues sequences[i] of this one.
  virtual std::unique_ptr<MixerCache> Select(absl::Span<const int64_t> sequences) const = 0;

  // Steps of one token of each sequence (layers/decode_graph.h) use the same memory again and
  // again. What differs among them, their kernels read from `numbers`, int32 on the device.
  struct StepMemory {
    Tensor numbers;                     // [num_step_numbers()]
    absl::Span<int32_t> numbers_host;   // the next step's, to be written
    std::vector<uintptr_t>* addresses;  // takes the addresses and sizes of what the kernels use
  };
  virtual int64_t num_step_numbers() const { return 0; }
  // To be called before each step, when every sequence has tokens: makes room for one more of each.
  virtual void PrepareStep(const StepMemory& memory) = 0;
};

// For caches.

int64_t HeldBytes(const Tensor& t);  // 0 if undefined

// Keeps what a call has left for the next one: in a step at its place, else as it is.
void Keep(const Tensor& made, bool step, Tensor* kept);

// Adds a tensor that steps read and write; nothing if undefined.
void AddAddress(const Tensor& x, std::vector<uintptr_t>* addresses);

// The rows of the first axis in this order, copied. Undefined stays undefined.
Tensor CopyOfRows(const Tensor& x, absl::Span<const int64_t> rows);

// Rows to allocate where `needed` no longer fit: `reserved` if that is enough, else geometrically
// more.
int64_t CacheCapacity(int64_t needed, int64_t reserved);

// Standard normal values.
void FillRandom(const Tensor& to, uint64_t seed, const std::string& name);

// Memory for `capacity` rows like those of `like`, the first `rows` of them random.
Tensor RandomRows(const Tensor& like, int64_t rows, int64_t capacity, uint64_t seed,
                  const std::string& name);

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXER_CACHE_H_
