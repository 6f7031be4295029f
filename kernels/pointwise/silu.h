// SiLU, element by element (arXiv 1702.03118).
//
//   y = x sigmoid(x)          dx = dy sigmoid(x) (1 + x (1 - sigmoid(x)))
//
// N elements. Computed in Acc, one rounding to Io.
#ifndef WYVERN_KERNELS_POINTWISE_SILU_H_
#define WYVERN_KERNELS_POINTWISE_SILU_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct SiluFwdParams {
  int64_t num_elements = 0;
  const Io* x = nullptr;  // [N]
  Io* y = nullptr;        // [N]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct SiluBwdParams {
  int64_t num_elements = 0;
  const Io* x = nullptr;   // [N]
  const Io* dy = nullptr;  // [N]
  Io* dx = nullptr;        // [N]
  StreamHandle stream = nullptr;
};

template <typename Io>
void SiluFwd(CpuTag, const SiluFwdParams<Io>& p);
template <typename Io>
void SiluBwd(CpuTag, const SiluBwdParams<Io>& p);
template <typename Io>
void SiluFwd(CudaTag, const SiluFwdParams<Io>& p);
template <typename Io>
void SiluBwd(CudaTag, const SiluBwdParams<Io>& p);
template <typename Io>
void SiluFwd(MetaTag, const SiluFwdParams<Io>& p);
template <typename Io>
void SiluBwd(MetaTag, const SiluBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_POINTWISE_SILU_H_
