#include "layers/mixers/mla/latent_cache.h"

namespace wyvern {

LatentCache::View LatentCache::Append(const Tensor& c, const Tensor& r,
                                      absl::Span<const int32_t> cu_seqlens) {
  const int64_t L = c.dim(1), width = L + r.dim(1);
  {
    const Tensor place = rows_.Extend(cu_seqlens, {{width}}, c)[0];
    place.Columns(0, L).CopyFrom(c);
    place.Columns(L, width).CopyFrom(r);
  }
  RowCache::View view = rows_.Rows();
  return {.rows = view.tables[0], .cu_seqlens = std::move(view.cu_seqlens)};
}

LatentCache::StepView LatentCache::AppendStep(const Tensor& c, const Tensor& r) const {
  rows_.Put(0, c);
  rows_.Put(0, r, c.dim(1));
  return {.rows = rows_.table(0), .ranges = rows_.StepRanges()};
}

void LatentCache::FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) {
  rows_.FillRandom(num_tokens, seed, {name + "latent"});
}

std::unique_ptr<MixerCache> LatentCache::Select(absl::Span<const int64_t> sequences) const {
  auto selected = std::make_unique<LatentCache>(0);
  selected->rows_ = rows_.Select(sequences);
  return selected;
}

}  // namespace wyvern
