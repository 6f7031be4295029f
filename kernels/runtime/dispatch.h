// The one place where device and element type turn into a kernel: an op's entry calls
//
//   Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
//     using Io = typename decltype(io)::type;
//     RmsNormFwd(device, RmsNormFwdParams<Io>{...});
//   });
//
// and overload resolution on CpuTag or CudaTag picks the implementation. The CPU serves fp32 and
// fp64, CUDA bf16 and fp32. A build without CUDA never instantiates the CUDA branch. On the meta
// device kernels do nothing, but count the memory that they would take for themselves where that is
// more than a trifle.
//
// Only the sources that dispatch include this header. All others, and every header, need at most
// kernels/runtime/device_tags.h: they are then the same with and without CUDA, and ccache compiles
// them once for both builds.
#ifndef WYVERN_KERNELS_RUNTIME_DISPATCH_H_
#define WYVERN_KERNELS_RUNTIME_DISPATCH_H_

#include "kernels/runtime/check.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename F>
void Dispatch(Device device, DType io, F&& fn) {
  if (device == Device::kCpu) {
    if (io == DType::kFloat32) return fn(CpuTag{}, TypeTag<float>{});
    if (io == DType::kFloat64) return fn(CpuTag{}, TypeTag<double>{});
  } else if (device == Device::kMeta) {
    if (io == DType::kBf16) return fn(MetaTag{}, TypeTag<Bf16>{});
    if (io == DType::kFloat32) return fn(MetaTag{}, TypeTag<float>{});
  } else {
#ifdef WYVERN_CUDA
    if (io == DType::kBf16) return fn(CudaTag{}, TypeTag<Bf16>{});
    if (io == DType::kFloat32) return fn(CudaTag{}, TypeTag<float>{});
#endif
  }
  CHECK(false, "no kernel for ", Name(io), " on ", Name(device));
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_DISPATCH_H_
