#ifndef WYVERN_KERNELS_RUNTIME_ALLOCATOR_H_
#define WYVERN_KERNELS_RUNTIME_ALLOCATOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "kernels/runtime/device.h"

namespace wyvern {

// Memory of one allocation, 256-byte aligned, freed on destruction. Device memory comes from
// a stream-ordered pool on the compute stream: it may be freed while kernels that were queued
// before still use it. Contents are undefined (all-ones bytes, NaN for floats, under SetPoison).
class Buffer {
 public:
  Buffer() = default;
  // Running out of memory ends the process with exit code 1 and a message that says how much was
  // asked for, how much is in use and what to lower: no step can continue without its memory.
  Buffer(Device device, size_t num_bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    std::swap(device_, other.device_);
    return *this;
  }

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t num_bytes() const { return num_bytes_; }
  Device device() const { return device_; }

  // Gives the memory back and keeps the size; Restore allocates it again, contents undefined.
  void Discard();
  void Restore();
  bool discarded() const { return data_ == nullptr && num_bytes_ > 0; }

 private:
  void* data_ = nullptr;
  size_t num_bytes_ = 0;
  Device device_ = Device::kCpu;
};

// Counts memory that a kernel would take while it runs, on the meta device.
inline void CountScratch(size_t num_bytes) { const Buffer scratch(Device::kMeta, num_bytes); }

struct MemoryStats {
  int64_t current_bytes = 0;
  int64_t peak_bytes = 0;
};
MemoryStats GetMemoryStats(Device device);
void ResetPeakBytes(Device device);

// From now on new buffers are filled with 0xFF, so that a read of memory nobody wrote shows.
void SetPoison(bool poison);

// Sets the advice of the out-of-memory message. The caller knows the user's configuration keys.
void SetOutOfMemoryAdvice(std::string advice);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_ALLOCATOR_H_
