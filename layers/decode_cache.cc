#include "layers/decode_cache.h"

#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"

namespace wyvern {

DecodeCache::DecodeCache(int64_t num_sequences) : num_tokens_(num_sequences) {}

int64_t DecodeCache::num_tokens(int64_t sequence) const {
  CHECK(sequence >= 0 && sequence < num_sequences(), "sequence ", sequence, " of ",
        num_sequences());
  return num_tokens_[sequence];
}

Packing DecodeCache::Next(absl::Span<const int64_t> lengths, Device device) const {
  CHECK(lengths.size() == num_tokens_.size(), lengths.size(), " lengths for ", num_sequences(),
        " sequences");
  std::vector<int32_t> cu_seqlens = {0};
  for (const int64_t length : lengths) {
    cu_seqlens.push_back(cu_seqlens.back() + static_cast<int32_t>(length));
  }
  return Packing::FromDocuments(std::move(cu_seqlens), device,
                                std::vector<int32_t>(num_tokens_.begin(), num_tokens_.end()));
}

DecodeCache DecodeCache::Select(absl::Span<const int64_t> sequences) const {
  DecodeCache selected(static_cast<int64_t>(sequences.size()));
  for (size_t i = 0; i < sequences.size(); ++i) selected.num_tokens_[i] = num_tokens(sequences[i]);
  selected.reserved_ = reserved_;
  for (const auto& layer : layers_) selected.layers_.push_back(layer->Select(sequences));
  return selected;
}

void DecodeCache::Reserve(int64_t num_tokens) {
  CHECK(layers_.empty(), "the cache is in use");
  reserved_ = num_tokens;
}

void DecodeCache::FillRandom(int64_t num_tokens, uint64_t seed) {
  CHECK(num_sequences() == 1, "a cache of ", num_sequences(), " sequences");
  CHECK(num_tokens_[0] > 0, "no token has been consumed");
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i]->FillRandom(num_tokens, seed, absl::StrCat("cache.", i, "."));
  }
  num_tokens_[0] = num_tokens;
}

int64_t DecodeCache::num_bytes() const {
  int64_t bytes = 0;
  for (const auto& layer : layers_) bytes += layer->num_bytes();
  return bytes;
}

}  // namespace wyvern
