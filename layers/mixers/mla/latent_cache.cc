#include "layers/mixers/mla/latent_cache.h"

#include <algorithm>

#include "kernels/runtime/check.h"

namespace wyvern {

Tensor LatentCache::Append(const Tensor& c, const Tensor& r) {
  const int64_t added = c.dim(0), L = c.dim(1), width = L + r.dim(1);
  if (!rows_.defined() || num_rows_ + added > rows_.dim(0)) {
    const Tensor grown =
        Tensor::Empty({CacheCapacity(num_rows_ + added, reserved_), width}, c.dtype(), c.device());
    if (num_rows_ > 0) grown.Rows(0, num_rows_).CopyFrom(rows_.Rows(0, num_rows_));
    rows_ = grown;
  }
  const Tensor rows = rows_.Rows(num_rows_, num_rows_ + added);
  rows.Columns(0, L).CopyFrom(c);
  rows.Columns(L, width).CopyFrom(r);
  num_rows_ += added;
  return rows_.Rows(0, num_rows_);
}

void LatentCache::FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) {
  CHECK(rows_.defined(), "nothing is cached yet");
  rows_ = RandomRows(rows_, num_tokens, CacheCapacity(num_tokens, std::max(num_tokens, reserved_)),
                     seed, name + "latent");
  num_rows_ = num_tokens;
}

int64_t LatentCache::num_bytes() const { return HeldBytes(rows_); }

}  // namespace wyvern
