#ifndef WYVERN_KERNELS_RUNTIME_STAGING_H_
#define WYVERN_KERNELS_RUNTIME_STAGING_H_

#include <cstddef>
#include <utility>

#include "kernels/runtime/device.h"

namespace wyvern {

// Host memory for copies from a device. For CUDA it is page-locked, so that a copy runs at the rate
// of the bus; where the system refuses so much of it, it is ordinary memory and copies are slower.
// Locking takes some 0.2 s a GiB: make it before the time that counts, and keep it.
class StagingBuffer {
 public:
  StagingBuffer() = default;
  // Running out of memory ends the process, as in Buffer. `num_bytes` may be 0.
  StagingBuffer(Device device, size_t num_bytes);
  ~StagingBuffer();
  StagingBuffer(StagingBuffer&& other) noexcept { *this = std::move(other); }
  StagingBuffer& operator=(StagingBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    std::swap(locked_, other.locked_);
    return *this;
  }

  char* data() const { return static_cast<char*>(data_); }
  size_t num_bytes() const { return num_bytes_; }

 private:
  void* data_ = nullptr;
  size_t num_bytes_ = 0;
  bool locked_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_STAGING_H_
