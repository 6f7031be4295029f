#include "kernels/runtime/staging.h"

#include <sys/mman.h>

#include <algorithm>

#include "kernels/runtime/check.h"
#include "kernels/runtime/gpu.h"
#ifdef WYVERN_CUDA
#include "kernels/runtime/cuda_check.h"
#endif

namespace wyvern {
namespace {

constexpr size_t kPage = 4096;
// Locked at a time: the driver launches nothing meanwhile. No copy reaches from one into the next.
constexpr size_t kPieceBytes = size_t{64} << 20;

}  // namespace

StagingBuffer::StagingBuffer(Device device, size_t num_bytes) : num_bytes_(num_bytes) {
  if (num_bytes == 0) return;
  void* const data =
      mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return;
  data_ = static_cast<char*>(data);
  madvise(data_, num_bytes, MADV_HUGEPAGE);  // where there are none, small pages serve
  if (device == Device::kCuda) {
    ComputeStream();  // chooses the GPU on first use
    thread_ = std::thread([this] { LockPieces(); });
  }
}

void StagingBuffer::LockPieces() {
#ifdef WYVERN_CUDA
  MakeGpuCurrent();
  while (locked_ < num_bytes_) {
    const size_t bytes = std::min(kPieceBytes, num_bytes_ - locked_);
    // The system makes the pages on the first write: here, and not under the driver's lock.
    for (size_t i = 0; i < bytes; i += kPage) static_cast<volatile char*>(data_)[locked_ + i] = 0;
    if (cudaHostRegister(data_ + locked_, bytes, cudaHostRegisterDefault) != cudaSuccess) {
      cudaGetLastError();  // clears the error: ordinary memory does too
      return;
    }
    locked_ += bytes;
  }
#endif
}

void StagingBuffer::CopyFrom(const void* from, Device device, size_t offset, size_t num_bytes) {
  CHECK(offset + num_bytes <= num_bytes_, num_bytes, " bytes at ", offset, " of ", num_bytes_);
  if (thread_.joinable()) thread_.join();
  const char* source = static_cast<const char*>(from);
  while (num_bytes > 0) {
    const size_t bytes = std::min(num_bytes, kPieceBytes - offset % kPieceBytes);
    CopyBytes(data_ + offset, Device::kCpu, source, device, bytes);
    source += bytes;
    offset += bytes;
    num_bytes -= bytes;
  }
}

StagingBuffer::~StagingBuffer() {
  if (thread_.joinable()) thread_.join();
#ifdef WYVERN_CUDA
  for (size_t begin = 0; begin < locked_; begin += kPieceBytes) {
    const cudaError_t error = cudaHostUnregister(data_ + begin);
    // At process exit the driver may be gone already; there is nothing to unlock.
    if (error != cudaErrorCudartUnloading) CUDA_CHECK(error);
  }
#endif
  if (data_ != nullptr) munmap(data_, num_bytes_);
}

}  // namespace wyvern
