#include "layers/mixers/attention/key_value_cache.h"

namespace wyvern {

KeyValueCache::View KeyValueCache::Append(const Tensor& keys, const Tensor& values,
                                          absl::Span<const int32_t> cu_seqlens) {
  const auto row = [](const Tensor& x) { return Shape(x.shape().begin() + 1, x.shape().end()); };
  {
    const std::vector<Tensor> places =
        rows_.Extend(cu_seqlens, {row(keys), row(values)}, keys, window_);
    places[0].CopyFrom(keys);
    places[1].CopyFrom(values);
  }
  RowCache::View view = rows_.Rows();
  return {
      .keys = view.tables[0], .values = view.tables[1], .cu_seqlens = std::move(view.cu_seqlens)};
}

KeyValueCache::StepView KeyValueCache::AppendStep(const Tensor& keys, const Tensor& values) const {
  rows_.Put(0, keys);
  rows_.Put(1, values);
  return {.keys = rows_.table(0), .values = rows_.table(1), .ranges = rows_.StepRanges()};
}

void KeyValueCache::FillRandom(int64_t num_tokens, uint64_t seed, const std::string& name) {
  rows_.FillRandom(num_tokens, seed, {name + "keys", name + "values"});
}

std::unique_ptr<MixerCache> KeyValueCache::Select(absl::Span<const int64_t> sequences) const {
  auto selected = std::make_unique<KeyValueCache>(0, window_);
  selected->rows_ = rows_.Select(sequences);
  return selected;
}

}  // namespace wyvern
