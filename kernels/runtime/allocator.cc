#include "kernels/runtime/allocator.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "absl/strings/str_format.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/failure_observer.h"
#include "kernels/runtime/memory_text.h"
#include "kernels/runtime/operation.h"
#ifdef WYVERN_CUDA
#include "kernels/runtime/cuda_check.h"
#endif

namespace wyvern {
namespace {

constexpr size_t kAlignment = 256;

struct Counters {
  std::atomic<int64_t> current{0}, peak{0};
};
Counters& CountersOf(Device device) {
  static Counters counters[3];
  return counters[static_cast<int>(device)];
}

std::atomic<bool> poison{false};

std::string& Advice() {
  static std::string advice;
  return advice;
}

[[noreturn]] void OutOfMemory(Device device, size_t num_bytes) {
  const std::string operation = Operation::Current();
  const std::string message = absl::StrFormat(
      "out of %s memory%s%s: asked for %s more while %s are in use.%s%s",
      device == Device::kCpu ? "host" : "device", operation.empty() ? "" : " while ", operation,
      MemoryText(static_cast<double>(num_bytes)),
      MemoryText(static_cast<double>(GetMemoryStats(device).current_bytes)),
      Advice().empty() ? "" : " ", Advice());
  std::fprintf(stderr, "%s\n", message.c_str());
  std::fflush(stderr);
  ObserveFailure(message);
  std::_Exit(1);
}

void* Allocate(Device device, size_t num_bytes) {
  void* data = nullptr;
  if (device == Device::kCpu) {
    const size_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    data = std::aligned_alloc(kAlignment, rounded);
    if (data == nullptr) OutOfMemory(device, num_bytes);
    return data;
  }
  if (device == Device::kMeta) {
    // An address that differs from those of other buffers and is not null.
    static std::atomic<uintptr_t> next{uintptr_t{1} << 56};
    const size_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<void*>(next.fetch_add(rounded));
  }
#ifdef WYVERN_CUDA
  const auto stream = static_cast<cudaStream_t>(ComputeStream());
  const cudaError_t error = cudaMallocAsync(&data, num_bytes, stream);
  if (error == cudaErrorMemoryAllocation) OutOfMemory(device, num_bytes);
  CUDA_CHECK(error);
#else
  CHECK(false, "device memory asked for in a build without CUDA");
#endif
  return data;
}

void Free(Device device, void* data) {
  if (device == Device::kCpu) {
    std::free(data);
    return;
  }
  if (device == Device::kMeta) return;
#ifdef WYVERN_CUDA
  // At process exit the driver may be gone before static objects are; there is nothing to free.
  const cudaError_t error = cudaFreeAsync(data, static_cast<cudaStream_t>(ComputeStream()));
  if (error != cudaErrorCudartUnloading) CUDA_CHECK(error);
#endif
}

}  // namespace

Buffer::Buffer(Device device, size_t num_bytes) : num_bytes_(num_bytes), device_(device) {
  Restore();
}

Buffer::~Buffer() { Discard(); }

void Buffer::Restore() {
  if (data_ != nullptr || num_bytes_ == 0) return;
  data_ = Allocate(device_, num_bytes_);
  Counters& counters = CountersOf(device_);
  const int64_t now = counters.current += static_cast<int64_t>(num_bytes_);
  int64_t peak = counters.peak;
  while (now > peak && !counters.peak.compare_exchange_weak(peak, now)) {
  }
  if (poison) FillBytes(data_, device_, 0xff, num_bytes_);
}

void Buffer::Discard() {
  if (data_ == nullptr) return;
  Free(device_, data_);
  data_ = nullptr;
  CountersOf(device_).current -= static_cast<int64_t>(num_bytes_);
}

MemoryStats GetMemoryStats(Device device) {
  const Counters& counters = CountersOf(device);
  return {counters.current, counters.peak};
}

void ResetPeakBytes(Device device) {
  Counters& counters = CountersOf(device);
  counters.peak = counters.current.load();
}

void SetPoison(bool on) { poison = on; }

void SetOutOfMemoryAdvice(std::string advice) { Advice() = std::move(advice); }

}  // namespace wyvern
