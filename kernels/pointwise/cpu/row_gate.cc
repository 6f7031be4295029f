#include "kernels/pointwise/row_gate.h"

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename Io>
void RowGateFwd(CpuTag, const RowGateFwdParams<Io>& p) {
#pragma omp parallel for schedule(static) if (p.num_rows * p.dim > 16384)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const Io s = Sigmoid(p.gate[t]);
    for (int64_t i = t * p.dim; i < (t + 1) * p.dim; ++i) p.y[i] = p.x[i] * s;
  }
}

template <typename Io>
void RowGateBwd(CpuTag, const RowGateBwdParams<Io>& p) {
#pragma omp parallel for schedule(static) if (p.num_rows * p.dim > 16384)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const Io s = Sigmoid(p.gate[t]);
    const Io *x = p.x + t * p.dim, *dy = p.dy + t * p.dim;
    Io* dx = p.dx + t * p.dim;
    Io dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < p.dim; ++i) {
      dot += dy[i] * x[i];
      dx[i] = dy[i] * s;
    }
    p.d_gate[t] = dot * s * (1 - s);
  }
}

template void RowGateFwd(CpuTag, const RowGateFwdParams<float>&);
template void RowGateFwd(CpuTag, const RowGateFwdParams<double>&);
template void RowGateBwd(CpuTag, const RowGateBwdParams<float>&);
template void RowGateBwd(CpuTag, const RowGateBwdParams<double>&);

}  // namespace wyvern
