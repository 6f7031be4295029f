#include "kernels/head/embedding.h"

#include <algorithm>
#include <vector>

#include "kernels/runtime/check.h"

namespace wyvern {

template <typename Io>
void EmbeddingFwd(CpuTag, const EmbeddingFwdParams<Io>& p) {
  const int64_t D = p.dim;
#pragma omp parallel for schedule(static) if (p.num_tokens * D > 16384)
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    const int64_t id = p.ids[t];
    CHECK(id >= 0 && id < p.num_ids, "token id ", id, " in a vocabulary of ", p.num_ids);
    std::copy_n(p.weight + id * D, D, p.y + t * D);
  }
}

template <typename Io>
void EmbeddingBwd(CpuTag, const EmbeddingBwdParams<Io>& p) {
  const int64_t D = p.dim, V = p.num_ids;
  // Tokens ordered by id, those of one id in their own order: begin[v] is where id v starts.
  std::vector<int64_t> begin(V + 1, 0), tokens(p.num_tokens);
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    CHECK(p.ids[t] >= 0 && p.ids[t] < V, "token id ", p.ids[t], " in a vocabulary of ", V);
    ++begin[p.ids[t] + 1];
  }
  for (int64_t v = 0; v < V; ++v) begin[v + 1] += begin[v];
  std::vector<int64_t> next(begin.begin(), begin.end() - 1);
  for (int64_t t = 0; t < p.num_tokens; ++t) tokens[next[p.ids[t]]++] = t;
#pragma omp parallel if (p.num_tokens * D > 16384)
  {
    std::vector<Io> sum(D);
#pragma omp for schedule(static)
    for (int64_t v = 0; v < V; ++v) {
      const bool absent = begin[v] == begin[v + 1] || v == p.padding_id;
      if (absent && p.d_weight == nullptr) continue;
      std::fill(sum.begin(), sum.end(), Io{0});
      for (int64_t j = begin[v]; j < begin[v + 1] && !absent; ++j) {
        const Io* dy = p.dy + tokens[j] * D;
        for (int64_t i = 0; i < D; ++i) sum[i] += dy[i];
      }
      if (p.d_weight != nullptr) {
        std::copy_n(sum.data(), D, p.d_weight + v * D);
      } else {
        for (int64_t i = 0; i < D; ++i) p.d_weight_into[v * D + i] += sum[i];
      }
    }
  }
}

template void EmbeddingFwd(CpuTag, const EmbeddingFwdParams<float>&);
template void EmbeddingFwd(CpuTag, const EmbeddingFwdParams<double>&);
template void EmbeddingBwd(CpuTag, const EmbeddingBwdParams<float>&);
template void EmbeddingBwd(CpuTag, const EmbeddingBwdParams<double>&);

}  // namespace wyvern
