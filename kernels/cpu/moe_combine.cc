#include "kernels/ops/moe_combine.h"

namespace wyvern {

template <typename Io>
void MoeCombineFwd(CpuTag, const MoeCombineFwdParams<Io>& p) {
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
void MoeCombineBwd(CpuTag, const MoeCombineBwdParams<Io>& p) {
  const int64_t D = p.dim, k = p.experts_per_token, R = p.num_tokens * k;
#pragma omp parallel for schedule(static) if (R * D > 16384)
  for (int64_t pair = 0; pair < R; ++pair) {
    const int64_t r = p.position[pair];
    const Io* dy = p.dy + pair / k * D;
    if (p.d_rows != nullptr) {
      const Io w = p.weights == nullptr ? 1 : p.weights[pair];
      for (int64_t i = 0; i < D; ++i) p.d_rows[r * D + i] = w * dy[i];
    }
    if (p.d_weights != nullptr) {
      Io dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t i = 0; i < D; ++i) dot += dy[i] * p.rows[r * D + i];
      p.d_weights[pair] = dot;
    }
  }
}

template void MoeCombineFwd(CpuTag, const MoeCombineFwdParams<float>&);
template void MoeCombineFwd(CpuTag, const MoeCombineFwdParams<double>&);
template void MoeCombineBwd(CpuTag, const MoeCombineBwdParams<float>&);
template void MoeCombineBwd(CpuTag, const MoeCombineBwdParams<double>&);

}  // namespace wyvern
