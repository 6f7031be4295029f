#include "kernels/runtime/staging.h"

#include <cstdio>
#include <cstdlib>

#include "kernels/runtime/check.h"
#ifdef WYVERN_CUDA
#include "kernels/runtime/cuda_check.h"
#endif

namespace wyvern {
namespace {

constexpr size_t kAlignment = 4096;

// Null where that much cannot be locked.
void* AllocateLocked(Device device, [[maybe_unused]] size_t num_bytes) {
  void* data = nullptr;
#ifdef WYVERN_CUDA
  if (device == Device::kCuda) {
    ComputeStream();  // chooses the GPU on first use
    if (cudaHostAlloc(&data, num_bytes, cudaHostAllocDefault) != cudaSuccess) {
      cudaGetLastError();  // clears the error: ordinary memory does too
      data = nullptr;
    }
  }
#else
  CHECK(device == Device::kCpu, "memory for a GPU asked for in a build without CUDA");
#endif
  return data;
}

}  // namespace

StagingBuffer::StagingBuffer(Device device, size_t num_bytes) : num_bytes_(num_bytes) {
  if (num_bytes == 0) return;
  data_ = AllocateLocked(device, num_bytes);
  locked_ = data_ != nullptr;
  if (locked_) return;
  data_ = std::aligned_alloc(kAlignment, (num_bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (data_ == nullptr) {
    std::fprintf(stderr, "out of host memory: asked for %.3f GiB to copy a checkpoint into\n",
                 static_cast<double>(num_bytes) / (1 << 30));
    std::_Exit(1);
  }
}

StagingBuffer::~StagingBuffer() {
  if (data_ == nullptr) return;
#ifdef WYVERN_CUDA
  if (locked_) {
    const cudaError_t error = cudaFreeHost(data_);
    // At process exit the driver may be gone already; there is nothing to free.
    if (error != cudaErrorCudartUnloading) CUDA_CHECK(error);
    return;
  }
#endif
  std::free(data_);
}

}  // namespace wyvern
