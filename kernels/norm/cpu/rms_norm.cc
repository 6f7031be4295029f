#include "kernels/norm/rms_norm.h"

#include <cmath>

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename Io>
void RmsNormFwd(CpuTag, const RmsNormFwdParams<Io>& p) {
  const int64_t D = p.dim;
  const Io offset = static_cast<Io>(p.weight_offset);
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const Io* s = p.x + t * D;
    if (p.residual != nullptr) {
      for (int64_t i = 0; i < D; ++i) p.sum[t * D + i] = p.x[t * D + i] + p.residual[t * D + i];
      s = p.sum + t * D;
    }
    Io square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < D; ++i) square += s[i] * s[i];
    const Io r = 1 / std::sqrt(square / static_cast<Io>(D) + static_cast<Io>(p.eps));
    for (int64_t i = 0; i < D; ++i) p.y[t * D + i] = s[i] * r * (p.weight[i] + offset);
    p.rstd[t] = r;
  }
}

template <typename Io>
void RmsNormBwd(CpuTag, const RmsNormBwdParams<Io>& p) {
  const int64_t D = p.dim;
  const Io offset = static_cast<Io>(p.weight_offset);
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const Io *s = p.s + t * D, *dy = p.dy + t * D;
    const Io r = p.rstd[t];
    Io c = 0;
#pragma omp simd reduction(+ : c)
    for (int64_t i = 0; i < D; ++i) c += dy[i] * (p.weight[i] + offset) * s[i];
    c *= r / static_cast<Io>(D);
    for (int64_t i = 0; i < D; ++i) {
      p.ds[t * D + i] = r * (dy[i] * (p.weight[i] + offset) - s[i] * r * c) +
                        (p.d_sum == nullptr ? 0 : p.d_sum[t * D + i]);
    }
    if (p.y == nullptr) continue;
    for (int64_t i = 0; i < D; ++i) p.y[t * D + i] = s[i] * r * (p.weight[i] + offset);
  }
  SumRows(p.num_rows, D, p.d_weight, p.add_d_weight, [&](int64_t t) {
    const Io *s = p.s + t * D, *dy = p.dy + t * D;
    return [=, r = p.rstd[t]](int64_t i) { return dy[i] * s[i] * r; };
  });
}

template void RmsNormFwd(CpuTag, const RmsNormFwdParams<float>&);
template void RmsNormFwd(CpuTag, const RmsNormFwdParams<double>&);
template void RmsNormBwd(CpuTag, const RmsNormBwdParams<float>&);
template void RmsNormBwd(CpuTag, const RmsNormBwdParams<double>&);

}  // namespace wyvern
