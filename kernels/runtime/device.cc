#include "kernels/runtime/device.h"

#include <cstring>
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/graph.h"
#ifdef WYVERN_CUDA
#include "kernels/runtime/cuda_check.h"
#endif

namespace wyvern {

const GpuInfo& MetaGpu() {
  static const GpuInfo h200 = {.name = "NVIDIA H200",
                               .major = 9,
                               .minor = 0,
                               .num_sms = 132,
                               .shared_bytes_per_block = 227 << 10,
                               .shared_bytes_per_sm = 228 << 10,
                               .l2_bytes = 50 << 20,
                               .total_bytes = int64_t{150110011392},
                               .peak_bf16_flops = 989e12,
                               .peak_bandwidth = 4.8e12};
  return h200;
}

#ifdef WYVERN_CUDA
namespace {

// Data-sheet dense bf16 rates; the H200 shares the H100's processor.
double PeakBf16Flops(const cudaDeviceProp& properties) {
  if (properties.major == 9) return 989e12;
  if (properties.major == 8 && properties.minor == 0) return 312e12;
  return 0;
}

int gpu_in_use = 0;
bool gpu_started = false;

double PeakBandwidth() {
  int clock_khz = 0, bus_bits = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&clock_khz, cudaDevAttrMemoryClockRate, gpu_in_use));
  CUDA_CHECK(cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, gpu_in_use));
  return 2 * 1e3 * clock_khz * bus_bits / 8;  // two transfers a clock
}

GpuInfo QueryGpu() {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, gpu_in_use));
  return {.name = properties.name,
          .major = properties.major,
          .minor = properties.minor,
          .num_sms = properties.multiProcessorCount,
          .shared_bytes_per_block = static_cast<int64_t>(properties.sharedMemPerBlockOptin),
          .shared_bytes_per_sm = static_cast<int64_t>(properties.sharedMemPerMultiprocessor),
          .l2_bytes = properties.l2CacheSize,
          .total_bytes = static_cast<int64_t>(properties.totalGlobalMem),
          .peak_bf16_flops = PeakBf16Flops(properties),
          .peak_bandwidth = PeakBandwidth()};
}

cudaStream_t MakeComputeStream() {
  gpu_started = true;
  CUDA_CHECK(cudaSetDevice(gpu_in_use));
  // Freed memory stays in the pool: the next step asks for the same sizes again.
  cudaMemPool_t pool;
  CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, gpu_in_use));
  uint64_t keep_all = UINT64_MAX;
  CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep_all));
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

cudaStream_t Stream() { return static_cast<cudaStream_t>(ComputeStream()); }

}  // namespace

StreamHandle ComputeStream() {
  static cudaStream_t stream = CudaAvailable() ? MakeComputeStream() : nullptr;
  return stream;
}

bool CudaAvailable(std::string* why) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return true;
  cudaGetLastError();  // clears the error: having no GPU is not an error
  if (why != nullptr) {
    *why = error == cudaSuccess ? "this machine has no GPU"
                                : absl::StrCat("no usable GPU: ", cudaGetErrorString(error));
  }
  return false;
}

const GpuInfo& CurrentGpu() {
  static std::mutex mutex;
  static std::map<int, GpuInfo> known;  // a query takes the host long
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [entry, fresh] = known.try_emplace(gpu_in_use);
  if (fresh) entry->second = QueryGpu();
  return entry->second;
}

int GpuCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

std::string GpuBusId(int index) {
  char id[32] = "";
  CUDA_CHECK(cudaDeviceGetPCIBusId(id, sizeof(id), index));
  return id;
}

void UseGpu(int index) {
  CHECK(!gpu_started || index == gpu_in_use, "GPU ", gpu_in_use, " is in use already");
  CHECK(0 <= index && index < GpuCount(), "GPU ", index, " of ", GpuCount());
  gpu_in_use = index;
}

void MakeGpuCurrent() { CUDA_CHECK(cudaSetDevice(gpu_in_use)); }

void Synchronize(Device device) {
  CHECK(!Graph::Recording(), "a wait for the device is recorded");
  if (device == Device::kCuda) CUDA_CHECK(cudaStreamSynchronize(Stream()));
}

void CopyBytes(void* to, Device to_device, const void* from, Device from_device, size_t num_bytes) {
  if (num_bytes == 0 || to_device == Device::kMeta) return;
  if (from_device == Device::kMeta) return FillBytes(to, to_device, 0, num_bytes);
  if (to_device == Device::kCpu && from_device == Device::kCpu) {
    std::memcpy(to, from, num_bytes);
    return;
  }
  CHECK(!Graph::Recording() || to_device == from_device,
        "a copy between host and device is recorded");
  CUDA_CHECK(cudaMemcpyAsync(to, from, num_bytes, cudaMemcpyDefault, Stream()));
  // From pageable host memory the runtime stages the bytes before it returns.
  if (to_device == Device::kCpu) CUDA_CHECK(cudaStreamSynchronize(Stream()));
}

void FillBytes(void* to, Device device, uint8_t value, size_t num_bytes) {
  if (num_bytes == 0 || device == Device::kMeta) return;
  if (device == Device::kCpu) {
    std::memset(to, value, num_bytes);
  } else {
    CUDA_CHECK(cudaMemsetAsync(to, value, num_bytes, Stream()));
  }
}

#else  // a build without CUDA

StreamHandle ComputeStream() { return nullptr; }

bool CudaAvailable(std::string* why) {
  if (why != nullptr) *why = "this build has no CUDA; configure with --preset cuda";
  return false;
}

const GpuInfo& CurrentGpu() {
  CHECK(false, "a build without CUDA has no GPU");
  return MetaGpu();
}

int GpuCount() { return 0; }

std::string GpuBusId(int) { return ""; }

void UseGpu(int index) { CHECK(false, "a build without CUDA has no GPU ", index); }

void MakeGpuCurrent() {}

void Synchronize(Device) {}

void CopyBytes(void* to, Device to_device, const void* from, Device from_device, size_t num_bytes) {
  if (num_bytes == 0 || to_device == Device::kMeta) return;
  if (from_device == Device::kMeta) return FillBytes(to, to_device, 0, num_bytes);
  std::memcpy(to, from, num_bytes);
}

void FillBytes(void* to, Device device, uint8_t value, size_t num_bytes) {
  if (num_bytes != 0 && device != Device::kMeta) std::memset(to, value, num_bytes);
}

#endif

}  // namespace wyvern
