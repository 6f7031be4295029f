// Random initial values: values[i] = stddev * random.Normal(i), a function of seed, name and index
// alone (kernels/runtime/random.h).
#ifndef WYVERN_KERNELS_POINTWISE_DRAW_H_
#define WYVERN_KERNELS_POINTWISE_DRAW_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/random.h"

namespace wyvern {

// Acc: float or double on the CPU, float on CUDA.
template <typename Acc>
struct DrawNormalParams {
  Random random;
  double stddev = 1;
  int64_t num_elements = 0;
  Acc* values = nullptr;  // [N]
  StreamHandle stream = nullptr;
};

template <typename Acc>
void DrawNormal(CpuTag, const DrawNormalParams<Acc>& p);
template <typename Acc>
void DrawNormal(CudaTag, const DrawNormalParams<Acc>& p);
template <typename Acc>
void DrawNormal(MetaTag, const DrawNormalParams<Acc>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_POINTWISE_DRAW_H_
