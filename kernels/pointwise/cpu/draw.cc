#include "kernels/pointwise/draw.h"

namespace wyvern {

template <typename Acc>
void DrawNormal(CpuTag, const DrawNormalParams<Acc>& p) {
#pragma omp parallel for schedule(static) if (p.num_elements > 4096)
  for (int64_t i = 0; i < p.num_elements; ++i) {
    p.values[i] = static_cast<Acc>(p.stddev * p.random.Normal(static_cast<uint64_t>(i)));
  }
}

template void DrawNormal(CpuTag, const DrawNormalParams<float>&);
template void DrawNormal(CpuTag, const DrawNormalParams<double>&);

}  // namespace wyvern
