#ifndef WYVERN_KERNELS_RUNTIME_DEVICE_H_
#define WYVERN_KERNELS_RUNTIME_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace wyvern {

// kMeta stands for a GPU of which only the accounts are kept: memory on it is counted but not
// there, nothing is computed, and what is read from it is zero. A program that runs on it tells
// what it would need (trainer/plan).
enum class Device { kCpu, kCuda, kMeta };

constexpr const char* Name(Device device) {
  switch (device) {
    case Device::kCpu:
      return "cpu";
    case Device::kCuda:
      return "cuda";
    case Device::kMeta:
      return "meta";
  }
  return "?";
}

// A cudaStream_t without the CUDA header; ignored by CPU kernels.
using StreamHandle = void*;

// The stream on which every op runs, made on first use; null on the CPU.
StreamHandle ComputeStream();

// Whether this build has CUDA kernels and this machine a GPU they run on. When not, `why` (if
// given) says what is missing.
bool CudaAvailable(std::string* why = nullptr);

// Waits until all work queued on the compute stream has run.
void Synchronize(Device device);

// Copies between any two devices, ordered on the compute stream. A copy to the host returns when
// its bytes have arrived; a copy to the device may return before it ran, but never before `from`
// may be reused.
void CopyBytes(void* to, Device to_device, const void* from, Device from_device, size_t num_bytes);

// Sets every byte, ordered on the compute stream.
void FillBytes(void* to, Device device, uint8_t value, size_t num_bytes);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_DEVICE_H_
