// Names the implementation of a kernel that overload resolution picks (kernels/runtime/dispatch.h).
#ifndef WYVERN_KERNELS_RUNTIME_DEVICE_TAGS_H_
#define WYVERN_KERNELS_RUNTIME_DEVICE_TAGS_H_

namespace wyvern {

struct CpuTag {};
struct CudaTag {};
struct MetaTag {};

template <typename T>
struct TypeTag {
  using type = T;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_DEVICE_TAGS_H_
