#include "layers/mixers/decode_cache.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/pointwise/draw.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

int64_t Bytes(const Tensor& t) { return t.defined() ? t.nbytes() : 0; }

// Rows to allocate where `needed` no longer fit.
int64_t Capacity(int64_t needed, int64_t reserved) {
  return needed <= reserved ? reserved : std::max<int64_t>(64, 2 * needed);
}

// Standard normal values, drawn in pieces: they are made in fp32 and rounded.
void DrawInto(const Tensor& to, uint64_t seed, const std::string& name) {
  constexpr int64_t kPiece = int64_t{1} << 24;
  const Tensor flat = to.Reshape({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += kPiece) {
    const int64_t end = std::min(flat.numel(), begin + kPiece);
    const Tensor values = Tensor::Empty({end - begin}, AccDType(to.dtype()), to.device());
    Dispatch(values.device(), values.dtype(), [&](auto device, auto io) {
      using Acc = AccOf<typename decltype(io)::type>;
      DrawNormal(device, DrawNormalParams<Acc>{.random = Random(seed, absl::StrCat(name, begin)),
                                               .num_elements = values.numel(),
                                               .values = values.data<Acc>(),
                                               .stream = ComputeStream()});
    });
    flat.Rows(begin, end).CopyFrom(values);
  }
}

// `rows` of the shape of those of `like`, random.
Tensor RandomRows(const Tensor& like, int64_t rows, int64_t capacity, uint64_t seed,
                  const std::string& name) {
  Shape shape = like.shape();
  shape[0] = capacity;
  const Tensor made = Tensor::Empty(shape, like.dtype(), like.device());
  DrawInto(made.Rows(0, rows), seed, name);
  return made;
}

}  // namespace

KeyValueCache::View KeyValueCache::Append(const Tensor& keys, const Tensor& values,
                                          int64_t window) {
  const int64_t added = keys.dim(0);
  if (window > 0) begin_ = std::max(begin_, end_ - (window - 1));
  const int64_t kept = end_ - begin_;
  if (!keys_.defined() || end_ + added > keys_.dim(0)) {
    // Of a window no more than it and what is added is ever kept.
    const int64_t capacity = Capacity(kept + added, window > 0 ? 0 : reserved_);
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
    const Tensor grown =
        Tensor::Empty({Capacity(num_rows_ + added, reserved_), width}, c.dtype(), c.device());
    if (num_rows_ > 0) grown.Rows(0, num_rows_).CopyFrom(rows_.Rows(0, num_rows_));
    rows_ = grown;
  }
  const Tensor rows = rows_.Rows(num_rows_, num_rows_ + added);
  rows.Columns(0, L).CopyFrom(c);
  rows.Columns(L, width).CopyFrom(r);
  num_rows_ += added;
  return rows_.Rows(0, num_rows_);
}

void KeyValueCache::FillRandom(int64_t tokens, uint64_t seed, const std::string& name) {
  CHECK(keys_.defined(), "nothing is cached yet");
  const int64_t capacity = Capacity(tokens, std::max(tokens, reserved_));
  keys_ = RandomRows(keys_, tokens, capacity, seed, name + "keys");
  values_ = RandomRows(values_, tokens, capacity, seed, name + "values");
  begin_ = 0;
  end_ = tokens;
}

void LatentCache::FillRandom(int64_t tokens, uint64_t seed, const std::string& name) {
  CHECK(rows_.defined(), "nothing is cached yet");
  rows_ = RandomRows(rows_, tokens, Capacity(tokens, std::max(tokens, reserved_)), seed,
                     name + "latent");
  num_rows_ = tokens;
}

void DeltaState::FillRandom(uint64_t seed, const std::string& name) {
  // What was cached may be part of something else: these are tensors of their own.
  const auto fill = [&](Tensor* x, const char* part) {
    if (!x->defined()) return;
    *x = Tensor::EmptyLike(*x);
    DrawInto(*x, seed, name + part);
  };
  fill(&conv, "conv");
  fill(&state, "state");
}

int64_t KeyValueCache::num_bytes() const { return Bytes(keys_) + Bytes(values_); }

int64_t LatentCache::num_bytes() const { return Bytes(rows_); }

int64_t DeltaState::num_bytes() const { return Bytes(conv) + Bytes(state); }

DecodeCache::DecodeCache() : impl_(std::make_unique<Impl>()) {}
DecodeCache::~DecodeCache() = default;
DecodeCache::DecodeCache(DecodeCache&&) noexcept = default;
DecodeCache& DecodeCache::operator=(DecodeCache&&) noexcept = default;

int64_t DecodeCache::num_tokens() const { return impl_->num_tokens; }

void DecodeCache::Impl::SetNumLayers(size_t count) {
  if (layers.size() == count) return;
  layers.resize(count);
  for (LayerCache& layer : layers) {
    layer.attention.Reserve(reserved);
    layer.latent.Reserve(reserved);
  }
}

void DecodeCache::Reserve(int64_t num_tokens) {
  CHECK(impl_->layers.empty(), "the cache is in use");
  impl_->reserved = num_tokens;
}

void DecodeCache::FillRandom(int64_t num_tokens, uint64_t seed) {
  CHECK(impl_->num_tokens > 0, "no token has been consumed");
  for (size_t i = 0; i < impl_->layers.size(); ++i) {
    LayerCache& layer = impl_->layers[i];
    const std::string name = absl::StrCat("cache.", i, ".");
    layer.delta.FillRandom(seed, name);
    if (layer.attention.num_bytes() > 0) layer.attention.FillRandom(num_tokens, seed, name);
    if (layer.latent.num_bytes() > 0) layer.latent.FillRandom(num_tokens, seed, name);
  }
  impl_->num_tokens = num_tokens;
}

int64_t DecodeCache::num_bytes() const {
  int64_t bytes = 0;
  for (const LayerCache& layer : impl_->layers) {
    bytes += layer.delta.num_bytes() + layer.attention.num_bytes() + layer.latent.num_bytes();
  }
  return bytes;
}

}  // namespace wyvern
