#include "kernels/attention/attention_merge.h"

#include <algorithm>
#include <cmath>

namespace wyvern {

template <typename Io>
void AttentionMerge(CpuTag, const AttentionMergeParams<Io>& p) {
  using Acc = AccOf<Io>;
  for (int64_t t = 0; t < p.num_queries; ++t) {
    for (int64_t h = 0; h < p.num_heads; ++h) {
      Acc& lse = p.lse[h * p.strides.head + t * p.strides.token];
      const Acc added = p.added_lse[h * p.added_strides.head + t * p.added_strides.token];
      const Acc top = std::max(lse, added);
      const Acc sum = std::exp(lse - top) + std::exp(added - top);
      const Acc own_share = std::exp(lse - top) / sum, added_share = std::exp(added - top) / sum;
      const int64_t row = (t * p.num_heads + h) * p.value_dim;
      for (int64_t i = row; i < row + p.value_dim; ++i) {
        p.o[i] = own_share * p.o[i] + added_share * p.added[i];
      }
      lse = top + std::log(sum);
    }
  }
}

template void AttentionMerge(CpuTag, const AttentionMergeParams<float>&);
template void AttentionMerge(CpuTag, const AttentionMergeParams<double>&);

}  // namespace wyvern
