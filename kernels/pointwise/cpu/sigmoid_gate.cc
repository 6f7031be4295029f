#include "kernels/pointwise/sigmoid_gate.h"

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename Io>
void SigmoidGateFwd(CpuTag, const SigmoidGateFwdParams<Io>& p) {
  ForEachBlock(p.num_elements, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) p.y[i] = p.x[i] * Sigmoid(p.gate[i]);
  });
}

template <typename Io>
void SigmoidGateBwd(CpuTag, const SigmoidGateBwdParams<Io>& p) {
  ForEachBlock(p.num_elements, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const Io s = Sigmoid(p.gate[i]), dy = p.dy[i];
      p.dx[i] = dy * s;
      p.d_gate[i] = dy * p.x[i] * s * (1 - s);
    }
  });
}

template void SigmoidGateFwd(CpuTag, const SigmoidGateFwdParams<float>&);
template void SigmoidGateFwd(CpuTag, const SigmoidGateFwdParams<double>&);
template void SigmoidGateBwd(CpuTag, const SigmoidGateBwdParams<float>&);
template void SigmoidGateBwd(CpuTag, const SigmoidGateBwdParams<double>&);

}  // namespace wyvern
