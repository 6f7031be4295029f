#include "layers/mixers/attention/key_value_cache.h"

#include <algorithm>

#include "kernels/runtime/check.h"

namespace wyvern {

KeyValueCache::View KeyValueCache::Append(const Tensor& keys, const Tensor& values,
                                          int64_t window) {
  const int64_t added = keys.dim(0);
  if (window > 0) begin_ = std::max(begin_, end_ - (window - 1));
  const int64_t kept = end_ - begin_;
  if (!keys_.defined() || end_ + added > keys_.dim(0)) {
    // With a window, no more than it and the added tokens is ever kept.
    const int64_t capacity = CacheCapacity(kept + added, window > 0 ? 0 : reserved_);
    const auto grow = [&](Tensor* cached, const Tensor& like) {
      Shape shape = like.shape();
      shape[0] = capacity;
      const Tensor grown = Tensor::Empty(shape, like.dtype(), like.device());
      if (kept > 0) grown.Rows(0, kept).CopyFrom(cached->Rows(begin_, end_));
      *cached = grown;
    };
    grow(&keys_, keys);
    grow(&values_, values);
    begin_ = 0;
    end_ = kept;
  }
  keys_.Rows(end_, end_ + added).CopyFrom(keys);
  values_.Rows(end_, end_ + added).CopyFrom(values);
  end_ += added;
  return {.keys = keys_.Rows(begin_, end_), .values = values_.Rows(begin_, end_)};
}

void KeyValueCache::FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) {
  CHECK(keys_.defined(), "nothing is cached yet");
  const int64_t capacity = CacheCapacity(num_tokens, std::max(num_tokens, reserved_));
  keys_ = RandomRows(keys_, num_tokens, capacity, seed, name + "keys");
  values_ = RandomRows(values_, num_tokens, capacity, seed, name + "values");
  begin_ = 0;
  end_ = num_tokens;
}

int64_t KeyValueCache::num_bytes() const { return HeldBytes(keys_) + HeldBytes(values_); }

}  // namespace wyvern
