#include "kernels/common/common.cuh"
#include "kernels/common/delay.h"

namespace wyvern {
namespace {

__device__ uint64_t Nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

__global__ void DelayKernel(uint64_t nanoseconds) {
  const uint64_t begin = Nanoseconds();
  while (Nanoseconds() - begin < nanoseconds) __nanosleep(500);
}

}  // namespace

void QueueDelay(CudaTag, double microseconds, StreamHandle stream) {
  DelayKernel<<<1, 1, 0, ToStream(stream)>>>(static_cast<uint64_t>(microseconds * 1e3));
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern
