#ifndef WYVERN_KERNELS_RUNTIME_STAGING_H_
#define WYVERN_KERNELS_RUNTIME_STAGING_H_

#include <cstddef>
#include <thread>

#include "kernels/runtime/device.h"

namespace wyvern {

// Host memory for copies from a device. For CUDA it is page-locked, so that a copy runs at the rate
// of the bus; what the system refuses to lock is ordinary memory, and its copies are slower.
// Locking takes some 0.3 s a GiB: a thread does it while the device computes.
class StagingBuffer {
 public:
  // `num_bytes` may be 0. Without the memory it is not ok(), and holds none.
  StagingBuffer(Device device, size_t num_bytes);
  ~StagingBuffer();
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;

  // Bytes offset .. offset + num_bytes - 1 become those at `from`. Waits for the thread first.
  void CopyFrom(const void* from, Device device, size_t offset, size_t num_bytes);
  bool ok() const { return data_ != nullptr || num_bytes_ == 0; }
  const char* data() const { return data_; }
  size_t num_bytes() const { return num_bytes_; }

 private:
  void LockPieces();

  char* data_ = nullptr;
  size_t num_bytes_ = 0;
  size_t locked_ = 0;  // bytes from the start; the thread's until it ends
  std::thread thread_;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_STAGING_H_
