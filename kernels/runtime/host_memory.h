#ifndef WYVERN_KERNELS_RUNTIME_HOST_MEMORY_H_
#define WYVERN_KERNELS_RUNTIME_HOST_MEMORY_H_

#include <cstdint>

namespace wyvern {

// Bytes of memory that this process's host has, or its control group may use where that is less.
int64_t HostMemoryBytes();

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_HOST_MEMORY_H_
