// Sigmoid gate of whole rows.
//
//   y_t = x_t s_t,  s_t = sigmoid(gate_t)      dx_t = dy_t s_t      d_gate_t = (dy_t . x_t) s_t (1
//   - s_t)
//
// T rows of D elements, row-major. Computed and summed in Acc, in a fixed order; one rounding to
// Io.
#ifndef WYVERN_KERNELS_POINTWISE_ROW_GATE_H_
#define WYVERN_KERNELS_POINTWISE_ROW_GATE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct RowGateFwdParams {
  int64_t num_rows = 0, dim = 0;
  const Io* x = nullptr;     // [T, D]
  const Io* gate = nullptr;  // [T]
  Io* y = nullptr;           // [T, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct RowGateBwdParams {
  int64_t num_rows = 0, dim = 0;
  const Io* x = nullptr;     // [T, D]
  const Io* gate = nullptr;  // [T]
  const Io* dy = nullptr;    // [T, D]
  Io* dx = nullptr;          // [T, D]
  Io* d_gate = nullptr;      // [T]
  StreamHandle stream = nullptr;
};

template <typename Io>
void RowGateFwd(CpuTag, const RowGateFwdParams<Io>& p);
template <typename Io>
void RowGateBwd(CpuTag, const RowGateBwdParams<Io>& p);
template <typename Io>
void RowGateFwd(CudaTag, const RowGateFwdParams<Io>& p);
template <typename Io>
void RowGateBwd(CudaTag, const RowGateBwdParams<Io>& p);
template <typename Io>
void RowGateFwd(MetaTag, const RowGateFwdParams<Io>& p);
template <typename Io>
void RowGateBwd(MetaTag, const RowGateBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_POINTWISE_ROW_GATE_H_
