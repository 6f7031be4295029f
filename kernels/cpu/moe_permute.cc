#include "kernels/ops/moe_permute.h"

#include <algorithm>

namespace wyvern {

template <typename Io>
void MoePermuteFwd(CpuTag, const MoePermuteFwdParams<Io>& p) {
  const int64_t D = p.dim, R = p.num_tokens * p.experts_per_token;
#pragma omp parallel for schedule(static) if (R * D > 16384)
  for (int64_t pair = 0; pair < R; ++pair) {
    std::copy_n(p.x + pair / p.experts_per_token * D, D, p.rows + p.position[pair] * D);
  }
}

template <typename Io>
void MoePermuteBwd(CpuTag, const MoePermuteBwdParams<Io>& p) {
  const int64_t D = p.dim, k = p.experts_per_token;
#pragma omp parallel for schedule(static) if (p.num_tokens * D > 16384)
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    Io* d_x = p.d_x + t * D;
    std::fill_n(d_x, D, Io{0});
    for (int64_t j = 0; j < k; ++j) {
      const Io* d_row = p.d_rows + p.position[t * k + j] * D;
      for (int64_t i = 0; i < D; ++i) d_x[i] += d_row[i];
    }
  }
}

template void MoePermuteFwd(CpuTag, const MoePermuteFwdParams<float>&);
template void MoePermuteFwd(CpuTag, const MoePermuteFwdParams<double>&);
template void MoePermuteBwd(CpuTag, const MoePermuteBwdParams<float>&);
template void MoePermuteBwd(CpuTag, const MoePermuteBwdParams<double>&);

}  // namespace wyvern
