// SwiGLU, element by element (arXiv 2002.05202).
//
//   y = silu(gate) up      d_up = dy silu(gate)      d_gate = dy up silu'(gate)
//
// R rows of D elements. Rows of y and dy follow one another, those of the others lie *_stride
// elements apart (gate and up may be columns of one tensor). Computed in Acc, one rounding to Io.
#ifndef WYVERN_KERNELS_POINTWISE_SWIGLU_H_
#define WYVERN_KERNELS_POINTWISE_SWIGLU_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct SwiGluFwdParams {
  int64_t num_rows = 0, dim = 0;
  int64_t gate_stride = 0, up_stride = 0;
  const Io* gate = nullptr;  // [R, D]
  const Io* up = nullptr;    // [R, D]
  Io* y = nullptr;           // [R, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct SwiGluBwdParams {
  int64_t num_rows = 0, dim = 0;
  int64_t gate_stride = 0, up_stride = 0, d_gate_stride = 0, d_up_stride = 0;
  const Io* gate = nullptr;  // [R, D]
  const Io* up = nullptr;    // [R, D]
  const Io* dy = nullptr;    // [R, D]
  Io* d_gate = nullptr;      // [R, D]
  Io* d_up = nullptr;        // [R, D]
  Io* y = nullptr;           // [R, D] what the forward gave, computed again; or null
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
template <typename Io>
void SwiGluFwd(MetaTag, const SwiGluFwdParams<Io>& p);
template <typename Io>
void SwiGluBwd(MetaTag, const SwiGluBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_POINTWISE_SWIGLU_H_
