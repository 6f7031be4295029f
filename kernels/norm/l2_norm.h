// L2 norm over the last axis, eps inside the root.
//
//   r = (sum(x^2) + eps)^-1/2      y = x r      dx = r (dy - y sum(dy y))
//
// R rows of K elements. Statistics in Acc, one rounding to Io.
#ifndef WYVERN_KERNELS_NORM_L2_NORM_H_
#define WYVERN_KERNELS_NORM_L2_NORM_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct L2NormFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  double eps = 0;
  const Io* x = nullptr;  // [R, K]
  Io* y = nullptr;        // [R, K]
  Acc* rstd = nullptr;    // [R] r, for the backward
  StreamHandle stream = nullptr;
};

template <typename Io>
struct L2NormBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  const Io* y = nullptr;      // [R, K]
  const Acc* rstd = nullptr;  // [R]
  const Io* dy = nullptr;     // [R, K]
  Io* dx = nullptr;           // [R, K]
  StreamHandle stream = nullptr;
};

template <typename Io>
void L2NormFwd(CpuTag, const L2NormFwdParams<Io>& p);
template <typename Io>
void L2NormBwd(CpuTag, const L2NormBwdParams<Io>& p);
template <typename Io>
void L2NormFwd(CudaTag, const L2NormFwdParams<Io>& p);
template <typename Io>
void L2NormBwd(CudaTag, const L2NormBwdParams<Io>& p);
template <typename Io>
void L2NormFwd(MetaTag, const L2NormFwdParams<Io>& p);
template <typename Io>
void L2NormBwd(MetaTag, const L2NormBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_NORM_L2_NORM_H_
