// SwiGLU, element by element (arXiv 2002.05202).
//
//   y = silu(gate) up      d_up = dy silu(gate)      d_gate = dy up silu'(gate)
//
// N elements. Computed in Acc, one rounding to Io.
#ifndef WYVERN_KERNELS_OPS_SWIGLU_H_
#define WYVERN_KERNELS_OPS_SWIGLU_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/dispatch.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct SwiGluFwdParams {
  int64_t num_elements = 0;
  const Io* gate = nullptr;  // [N]
  const Io* up = nullptr;    // [N]
  Io* y = nullptr;           // [N]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct SwiGluBwdParams {
  int64_t num_elements = 0;
  const Io* gate = nullptr;  // [N]
  const Io* up = nullptr;    // [N]
  const Io* dy = nullptr;    // [N]
  Io* d_gate = nullptr;      // [N]
  Io* d_up = nullptr;        // [N]
  StreamHandle stream = nullptr;
};

template <typename Io>
void SwiGluFwd(CpuTag, const SwiGluFwdParams<Io>& p);
template <typename Io>
void SwiGluBwd(CpuTag, const SwiGluBwdParams<Io>& p);
template <typename Io>
void SwiGluFwd(CudaTag, const SwiGluFwdParams<Io>& p);
template <typename Io>
void SwiGluBwd(CudaTag, const SwiGluBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPS_SWIGLU_H_
