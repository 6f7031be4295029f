// Sigmoid gate, element by element.
//
//   y = x s,  s = sigmoid(gate)      dx = dy s      d_gate = dy x s (1 - s)
//
// N elements. Computed in Acc, one rounding to Io.
#ifndef WYVERN_KERNELS_POINTWISE_SIGMOID_GATE_H_
#define WYVERN_KERNELS_POINTWISE_SIGMOID_GATE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct SigmoidGateFwdParams {
  int64_t num_elements = 0;
  const Io* x = nullptr;     // [N]
  const Io* gate = nullptr;  // [N]
  Io* y = nullptr;           // [N]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct SigmoidGateBwdParams {
  int64_t num_elements = 0;
  const Io* x = nullptr;     // [N]
  const Io* gate = nullptr;  // [N]
  const Io* dy = nullptr;    // [N]
  Io* dx = nullptr;          // [N]
  Io* d_gate = nullptr;      // [N]
  StreamHandle stream = nullptr;
};

template <typename Io>
void SigmoidGateFwd(CpuTag, const SigmoidGateFwdParams<Io>& p);
template <typename Io>
void SigmoidGateBwd(CpuTag, const SigmoidGateBwdParams<Io>& p);
template <typename Io>
void SigmoidGateFwd(CudaTag, const SigmoidGateFwdParams<Io>& p);
template <typename Io>
void SigmoidGateBwd(CudaTag, const SigmoidGateBwdParams<Io>& p);
template <typename Io>
void SigmoidGateFwd(MetaTag, const SigmoidGateFwdParams<Io>& p);
template <typename Io>
void SigmoidGateBwd(MetaTag, const SigmoidGateBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_POINTWISE_SIGMOID_GATE_H_
