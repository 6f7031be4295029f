// Dispatch (kernels/runtime/dispatch.h) to the kernels of kernels/optim/muon.h.
#ifndef WYVERN_KERNELS_OPTIM_DISPATCH_MUON_H_
#define WYVERN_KERNELS_OPTIM_DISPATCH_MUON_H_

#include "kernels/runtime/check.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// Calls fn(device tag, type tag of T) for matmuls of type `type`.
template <typename F>
void DispatchMuon(Device device, DType type, F&& fn) {
  if (device == Device::kCpu) {
    if (type == DType::kFloat32) return fn(CpuTag{}, TypeTag<float>{});
    if (type == DType::kFloat64) return fn(CpuTag{}, TypeTag<double>{});
  } else if (device == Device::kMeta) {
    if (type == DType::kBf16) return fn(MetaTag{}, TypeTag<Bf16>{});
  } else {
#ifdef WYVERN_CUDA
    if (type == DType::kBf16) return fn(CudaTag{}, TypeTag<Bf16>{});
#endif
  }
  CHECK(false, "no matmuls of ", Name(type), " on ", Name(device));
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPTIM_DISPATCH_MUON_H_
