#include "kernels/moe/moe_rows.h"

namespace wyvern {

template <typename Io>
void MoeGather(CpuTag, const MoeGatherParams<Io>& p) {
  const int64_t D = p.dim, k = p.experts_per_token;
#pragma omp parallel for schedule(static) if (p.num_tokens * D > 16384)
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    Io* y = p.y + t * D;
    for (int64_t i = 0; i < D; ++i) y[i] = p.shared == nullptr ? 0 : p.shared[t * D + i];
    for (int64_t j = 0; j < k; ++j) {
      const Io w = p.weights == nullptr ? 1 : p.weights[t * k + j];
      const Io* row = p.rows + p.position[t * k + j] * D;
      for (int64_t i = 0; i < D; ++i) y[i] += w * row[i];
    }
  }
}

template <typename Io>
void MoeScatter(CpuTag, const MoeScatterParams<Io>& p) {
  const int64_t D = p.dim, k = p.experts_per_token, R = p.num_tokens * k;
#pragma omp parallel for schedule(static) if (R * D > 16384)
  for (int64_t pair = 0; pair < R; ++pair) {
    const int64_t r = p.position[pair];
    const Io* x = p.x + pair / k * D;
    if (p.to != nullptr) {
      const Io w = p.weights == nullptr ? 1 : p.weights[pair];
      for (int64_t i = 0; i < D; ++i) p.to[r * D + i] = w * x[i];
    }
    if (p.dots != nullptr) {
      Io dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t i = 0; i < D; ++i) dot += x[i] * p.rows[r * D + i];
      p.dots[pair] = dot;
    }
  }
}

template void MoeGather(CpuTag, const MoeGatherParams<float>&);
template void MoeGather(CpuTag, const MoeGatherParams<double>&);
template void MoeScatter(CpuTag, const MoeScatterParams<float>&);
template void MoeScatter(CpuTag, const MoeScatterParams<double>&);

}  // namespace wyvern
