// AdamW over many tensors in one call (arXiv 1711.05101; decoupled decay scaled by the rate).
//
//   g = grad * grad_scale
//   m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
//   p = p (1 - lr weight_decay)
//   p = p - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
//
// Master weights, gradients and moments are Acc; where a tensor has a compute copy, the new master
// is also rounded to Io there (the value that the forward reads).
#ifndef WYVERN_KERNELS_OPTIM_ADAMW_H_
#define WYVERN_KERNELS_OPTIM_ADAMW_H_

#include <vector>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// One parameter, or a part of one; tensors of a call do not overlap.
template <typename Io>
struct AdamWTensor {
  using Acc = AccOf<Io>;
  int64_t num_elements = 0;
  Acc* master = nullptr;      // [N]
  const Acc* grad = nullptr;  // [N]
  Acc* m = nullptr;           // [N] first moment
  Acc* v = nullptr;           // [N] second moment
  Io* copy = nullptr;         // [N] or null
  double weight_decay = 0;
};

template <typename Io>
struct AdamWParams {
  using Acc = AccOf<Io>;
  std::vector<AdamWTensor<Io>> tensors;  // structs on the host, memory on the device
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  int64_t step = 1;                 // of this update, from 1
  const Acc* grad_scale = nullptr;  // [1] on the device, or null: 1 (GradNormParams::clip)
  const int32_t* finite = nullptr;  // [1] on the device: where 0 nothing changes; null: update
  StreamHandle stream = nullptr;
};

template <typename Io>
void AdamW(CpuTag, const AdamWParams<Io>& p);
template <typename Io>
void AdamW(CudaTag, const AdamWParams<Io>& p);
template <typename Io>
void AdamW(MetaTag, const AdamWParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPTIM_ADAMW_H_
