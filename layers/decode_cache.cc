#include "layers/decode_cache.h"

#include <algorithm>

namespace wyvern {

KeyValueCache::View KeyValueCache::Append(const Tensor& keys, const Tensor& values,
                                          int64_t window) {
  const int64_t added = keys.dim(0);
  if (window > 0) begin_ = std::max(begin_, end_ - (window - 1));
  const int64_t kept = end_ - begin_;
  if (!keys_.defined() || end_ + added > keys_.dim(0)) {
    const int64_t capacity = std::max<int64_t>(64, 2 * (kept + added));
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

Tensor LatentCache::Append(const Tensor& c, const Tensor& r) {
  const int64_t added = c.dim(0), L = c.dim(1), width = L + r.dim(1);
  if (!rows_.defined() || num_rows_ + added > rows_.dim(0)) {
    const Tensor grown = Tensor::Empty({std::max<int64_t>(64, 2 * (num_rows_ + added)), width},
                                       c.dtype(), c.device());
    if (num_rows_ > 0) grown.Rows(0, num_rows_).CopyFrom(rows_.Rows(0, num_rows_));
    rows_ = grown;
  }
  const Tensor rows = rows_.Rows(num_rows_, num_rows_ + added);
  rows.Columns(0, L).CopyFrom(c);
  rows.Columns(L, width).CopyFrom(r);
  num_rows_ += added;
  return rows_.Rows(0, num_rows_);
}

namespace {
int64_t Bytes(const Tensor& t) { return t.defined() ? t.nbytes() : 0; }
}  // namespace

int64_t KeyValueCache::num_bytes() const { return Bytes(keys_) + Bytes(values_); }

int64_t LatentCache::num_bytes() const { return Bytes(rows_); }

int64_t DeltaState::num_bytes() const { return Bytes(conv) + Bytes(state); }

DecodeCache::DecodeCache() : impl_(std::make_unique<Impl>()) {}
DecodeCache::~DecodeCache() = default;
DecodeCache::DecodeCache(DecodeCache&&) noexcept = default;
DecodeCache& DecodeCache::operator=(DecodeCache&&) noexcept = default;

int64_t DecodeCache::num_tokens() const { return impl_->num_tokens; }

int64_t DecodeCache::num_bytes() const {
  int64_t bytes = 0;
  for (const LayerCache& layer : impl_->layers) {
    bytes += layer.delta.num_bytes() + layer.attention.num_bytes() + layer.latent.num_bytes();
  }
  return bytes;
}

}  // namespace wyvern
