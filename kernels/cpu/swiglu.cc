#include "kernels/ops/swiglu.h"

#include "kernels/cpu/cpu_math.h"

namespace wyvern {

template <typename Io>
void SwiGluFwd(CpuTag, const SwiGluFwdParams<Io>& p) {
  ForEachBlock(p.num_elements, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) p.y[i] = p.gate[i] * Sigmoid(p.gate[i]) * p.up[i];
  });
}

template <typename Io>
void SwiGluBwd(CpuTag, const SwiGluBwdParams<Io>& p) {
  ForEachBlock(p.num_elements, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const Io z = p.gate[i], s = Sigmoid(z), dy = p.dy[i];
      p.d_gate[i] = dy * p.up[i] * s * (1 + z * (1 - s));
      p.d_up[i] = dy * z * s;
    }
  });
}

template void SwiGluFwd(CpuTag, const SwiGluFwdParams<float>&);
template void SwiGluFwd(CpuTag, const SwiGluFwdParams<double>&);
template void SwiGluBwd(CpuTag, const SwiGluBwdParams<float>&);
template void SwiGluBwd(CpuTag, const SwiGluBwdParams<double>&);

}  // namespace wyvern
