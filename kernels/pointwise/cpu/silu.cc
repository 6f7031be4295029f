#include "kernels/pointwise/silu.h"

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename Io>
void SiluFwd(CpuTag, const SiluFwdParams<Io>& p) {
  ForEachBlock(p.num_elements, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) p.y[i] = p.x[i] * Sigmoid(p.x[i]);
  });
}

template <typename Io>
void SiluBwd(CpuTag, const SiluBwdParams<Io>& p) {
  ForEachBlock(p.num_elements, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) p.dx[i] = p.dy[i] * SiluSlope(p.x[i]);
  });
}

template void SiluFwd(CpuTag, const SiluFwdParams<float>&);
template void SiluFwd(CpuTag, const SiluFwdParams<double>&);
template void SiluBwd(CpuTag, const SiluBwdParams<float>&);
template void SiluBwd(CpuTag, const SiluBwdParams<double>&);

}  // namespace wyvern
