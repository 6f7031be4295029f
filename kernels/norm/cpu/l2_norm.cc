#include "kernels/norm/l2_norm.h"

#include <cmath>

namespace wyvern {

template <typename Io>
void L2NormFwd(CpuTag, const L2NormFwdParams<Io>& p) {
  const int64_t K = p.dim;
#pragma omp parallel for schedule(static) if (p.num_rows * K > 16384)
  for (int64_t row = 0; row < p.num_rows; ++row) {
    const Io* x = p.x + row * K;
    Io square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < K; ++i) square += x[i] * x[i];
    const Io r = 1 / std::sqrt(square + static_cast<Io>(p.eps));
    for (int64_t i = 0; i < K; ++i) p.y[row * K + i] = x[i] * r;
    p.rstd[row] = r;
  }
}

template <typename Io>
void L2NormBwd(CpuTag, const L2NormBwdParams<Io>& p) {
  const int64_t K = p.dim;
#pragma omp parallel for schedule(static) if (p.num_rows * K > 16384)
  for (int64_t row = 0; row < p.num_rows; ++row) {
    const Io *y = p.y + row * K, *dy = p.dy + row * K;
    Io dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < K; ++i) dot += dy[i] * y[i];
    for (int64_t i = 0; i < K; ++i) p.dx[row * K + i] = p.rstd[row] * (dy[i] - y[i] * dot);
  }
}

template void L2NormFwd(CpuTag, const L2NormFwdParams<float>&);
template void L2NormFwd(CpuTag, const L2NormFwdParams<double>&);
template void L2NormBwd(CpuTag, const L2NormBwdParams<float>&);
template void L2NormBwd(CpuTag, const L2NormBwdParams<double>&);

}  // namespace wyvern
