#ifndef WYVERN_KERNELS_COMMON_DELAY_H_
#define WYVERN_KERNELS_COMMON_DELAY_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"

namespace wyvern {

// Keeps the stream busy for at least this long and touches no memory: what the host queues
// meanwhile then runs without waiting for its launches, which is how a kernel is timed alone. On
// the CPU, where work is done when a call returns, nothing happens.
inline void QueueDelay(CpuTag, double, StreamHandle) {}
void QueueDelay(CudaTag, double microseconds, StreamHandle stream);
inline void QueueDelay(MetaTag, double, StreamHandle) {}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMMON_DELAY_H_
