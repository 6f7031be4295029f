// RMS norm over the last axis with a fused residual add (arXiv 1910.07467).
//
//   s = x + residual            (s = x without a residual)
//   y = s (mean(s^2) + eps)^-1/2 * w      w = weight + weight_offset
//
// T rows of D elements, row-major. Statistics in Acc whatever Io is.
// Backward, with r = (mean(s^2) + eps)^-1/2, n = r s and c = mean(dy w n):
//   ds = r (dy w - n c) + d_sum        d_weight = sum over rows of dy n
#ifndef WYVERN_KERNELS_NORM_RMS_NORM_H_
#define WYVERN_KERNELS_NORM_RMS_NORM_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct RmsNormFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  double eps = 0;
  double weight_offset = 0;      // 1 for weights that are centred at zero
  const Io* x = nullptr;         // [T, D]
  const Io* residual = nullptr;  // [T, D] or null
  const Acc* weight = nullptr;   // [D]
  Io* y = nullptr;               // [T, D]
  Io* sum = nullptr;             // [T, D] x + residual; null without a residual
  Acc* rstd = nullptr;           // [T] r, for the backward
  StreamHandle stream = nullptr;
};

template <typename Io>
struct RmsNormBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  double weight_offset = 0;
  const Io* s = nullptr;        // [T, D] what was normalised
  const Acc* weight = nullptr;  // [D]
  const Acc* rstd = nullptr;    // [T]
  const Io* dy = nullptr;       // [T, D]
  const Io* d_sum = nullptr;    // [T, D] gradient of `sum`, or null
  Io* ds = nullptr;             // [T, D]
  Acc* d_weight = nullptr;      // [D], written or, if so asked, added to
  bool add_d_weight = false;
  Io* y = nullptr;  // [T, D] what the forward gave, computed again; or null
  StreamHandle stream = nullptr;
};

template <typename Io>
void RmsNormFwd(CpuTag, const RmsNormFwdParams<Io>& p);
template <typename Io>
void RmsNormBwd(CpuTag, const RmsNormBwdParams<Io>& p);
template <typename Io>
void RmsNormFwd(CudaTag, const RmsNormFwdParams<Io>& p);
template <typename Io>
void RmsNormBwd(CudaTag, const RmsNormBwdParams<Io>& p);
template <typename Io>
void RmsNormFwd(MetaTag, const RmsNormFwdParams<Io>& p);
template <typename Io>
void RmsNormBwd(MetaTag, const RmsNormBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_NORM_RMS_NORM_H_
