#include "kernels/runtime/allocator.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "kernels/runtime/arena.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/failure_observer.h"
#include "kernels/runtime/graph.h"
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

void* AllocateNew(Device device, size_t num_bytes) {
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
  CHECK(!Graph::Recording(), num_bytes, " bytes beyond those of the run before the recording");
  const auto stream = static_cast<cudaStream_t>(ComputeStream());
  const cudaError_t error = cudaMallocAsync(&data, num_bytes, stream);
  if (error == cudaErrorMemoryAllocation) OutOfMemory(device, num_bytes);
  CUDA_CHECK(error);
#else
  CHECK(false, "device memory asked for in a build without CUDA");
#endif
  return data;
}

void FreeForGood(Device device, void* data) {
  if (device == Device::kCpu) {
    std::free(data);
    return;
  }
  if (device == Device::kMeta) return;
#ifdef WYVERN_CUDA
  CHECK(!Graph::Recording(), "memory is freed that the run before the recording did not take");
  // At process exit the driver may be gone before static objects are; there is nothing to free.
  const cudaError_t error = cudaFreeAsync(data, static_cast<cudaStream_t>(ComputeStream()));
  if (error != cudaErrorCudartUnloading) CUDA_CHECK(error);
#endif
}

}  // namespace

struct Arena::Blocks {
  Device device = Device::kCpu;
  bool open = true;                           // until the arena ends
  std::map<size_t, std::vector<void*>> free;  // by size
};

namespace {

// The blocks of arenas that are in use.
class BlocksInUse {
 public:
  // Lives as long as the process, as buffers of static objects may.
  static BlocksInUse& Get() {
    static BlocksInUse* const blocks = new BlocksInUse;
    return *blocks;
  }

  void* Take(const std::shared_ptr<Arena::Blocks>& from, size_t num_bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<void*>& of_size = from->free[num_bytes];
    void* data;
    if (of_size.empty()) {
      data = AllocateNew(from->device, num_bytes);
    } else {
      data = of_size.back();
      of_size.pop_back();
    }
    used_[data] = {from, num_bytes};
    ++count_;
    return data;
  }

  // False if it is no arena's.
  bool Give(void* data) {
    if (count_ == 0) return false;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = used_.find(data);
    if (found == used_.end()) return false;
    const auto [blocks, num_bytes] = std::move(found->second);
    used_.erase(found);
    --count_;
    if (blocks->open) {
      blocks->free[num_bytes].push_back(data);
    } else {
      FreeForGood(blocks->device, data);
    }
    return true;
  }

  void Close(Arena::Blocks* blocks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks->open = false;
    for (const auto& [size, of_size] : blocks->free) {
      for (void* data : of_size) FreeForGood(blocks->device, data);
    }
    blocks->free.clear();
  }

 private:
  struct Use {
    std::shared_ptr<Arena::Blocks> blocks;
    size_t num_bytes = 0;
  };
  std::mutex mutex_;
  std::atomic<int64_t> count_{0};
  std::unordered_map<void*, Use> used_;
};

thread_local Arena* current_arena = nullptr;

void* Allocate(Device device, size_t num_bytes) {
  if (current_arena != nullptr && current_arena->blocks()->device == device) {
    return BlocksInUse::Get().Take(current_arena->blocks(), num_bytes);
  }
  return AllocateNew(device, num_bytes);
}

void Free(Device device, void* data) {
  if (!BlocksInUse::Get().Give(data)) FreeForGood(device, data);
}

}  // namespace

Arena::Arena(Device device) : blocks_(std::make_shared<Blocks>()) { blocks_->device = device; }

Arena::~Arena() { BlocksInUse::Get().Close(blocks_.get()); }

Arena::Scope::Scope(Arena* arena) : before_(current_arena) { current_arena = arena; }

Arena::Scope::~Scope() { current_arena = before_; }

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
