#include "kernels/comm/nccl/nccl_communicator.h"

#include <deque>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/comm/failure/watchdog.h"
#include "kernels/comm/nccl/nccl_library.h"
#include "kernels/comm/world.h"
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Beside GEMMs that fill the GPU, an operation that ends soon costs them less than one on few SMs
// (experiments/scale_out). NCCL takes a least number only together with a greatest.
constexpr int kMinCtas = 32, kMaxCtas = 64;

std::string NcclError(ncclResult_t result) {
  const char* last = Nccl().GetLastError(nullptr);
  return absl::StrCat(Nccl().GetErrorString(result), last == nullptr ? "" : ": ",
                      last == nullptr ? "" : last);
}

cudaStream_t Compute() { return static_cast<cudaStream_t>(ComputeStream()); }

// One stream for all groups, with priority over the compute stream: computing waits for it, not the
// other way round.
cudaStream_t CommStream() {
  static cudaStream_t stream = [] {
    ComputeStream();  // chooses the GPU
    int low = 0, high = 0;
    CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&low, &high));
    cudaStream_t made;
    CUDA_CHECK(cudaStreamCreateWithPriority(&made, cudaStreamNonBlocking, high));
    return made;
  }();
  return stream;
}

// Events that nobody uses, kept: the driver may make who destroys one wait behind a copy that never
// ends, and the watchdog forgets operations.
class EventPool {
 public:
  static EventPool& Get() {
    static EventPool* pool = new EventPool;  // the runtime may be gone before static objects
    return *pool;
  }

  cudaEvent_t Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      cudaEvent_t event = nullptr;
      CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
      return event;
    }
    const cudaEvent_t event = free_.back();
    free_.pop_back();
    return event;
  }

  void Return(cudaEvent_t event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(event);
  }

 private:
  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
};

class CudaEvent {
 public:
  CudaEvent() : event_(EventPool::Get().Take()) {}
  ~CudaEvent() { EventPool::Get().Return(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  void RecordOn(cudaStream_t stream) const { CUDA_CHECK(cudaEventRecord(event_, stream)); }
  void MakeWait(cudaStream_t stream) const { CUDA_CHECK(cudaStreamWaitEvent(stream, event_, 0)); }
  bool Happened(const std::string& what, const std::string& activity) const {
    const cudaError_t error = cudaEventQuery(event_);
    // While the process ends the runtime is gone, and so is what was waited for.
    if (error == cudaSuccess || error == cudaErrorCudartUnloading) return true;
    if (error != cudaErrorNotReady) {
      CommFailed(absl::StrCat(what, ": the GPU failed: ", cudaGetErrorString(error)), activity);
    }
    return false;
  }

 private:
  const cudaEvent_t event_;
};

// How long the compute stream stood still for results, by events around its waits.
class DeviceWaits {
 public:
  static DeviceWaits& Get() {
    static DeviceWaits* waits = new DeviceWaits;  // the runtime may be gone before static objects
    return *waits;
  }

  void WaitFor(const CudaEvent& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (running_.size() > kMaxRunning) Collect();
    Span span;
    if (free_.empty()) {
      CUDA_CHECK(cudaEventCreate(&span.begin));
      CUDA_CHECK(cudaEventCreate(&span.end));
    } else {
      span = free_.back();
      free_.pop_back();
    }
    CUDA_CHECK(cudaEventRecord(span.begin, Compute()));
    event.MakeWait(Compute());
    CUDA_CHECK(cudaEventRecord(span.end, Compute()));
    running_.push_back(span);
  }

  double Seconds() {
    const std::lock_guard<std::mutex> lock(mutex_);
    Collect();
    return seconds_;
  }

 private:
  struct Span {
    cudaEvent_t begin = nullptr, end = nullptr;
  };
  static constexpr size_t kMaxRunning = 1024;  // of someone who never asks

  void Collect() {
    while (!running_.empty()) {
      const Span span = running_.front();
      const cudaError_t error = cudaEventQuery(span.end);
      if (error == cudaErrorNotReady) {
        cudaGetLastError();  // or the next check of a launch would find it
        return;
      }
      CUDA_CHECK(error);
      float ms = 0;
      CUDA_CHECK(cudaEventElapsedTime(&ms, span.begin, span.end));
      seconds_ += 1e-3 * ms;
      running_.pop_front();
      free_.push_back(span);
    }
  }

  std::mutex mutex_;
  std::deque<Span> running_;
  std::vector<Span> free_;
  double seconds_ = 0;
};

class Operation : public Pending::Work {
 public:
  void Wait() override { DeviceWaits::Get().WaitFor(end); }
  CudaEvent begin, end;
};

// The handle, shared with the watchdog, which asks it for errors until it is destroyed.
struct Handle {
  std::mutex mutex;
  ncclComm_t comm = nullptr;
};

ncclDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kBf16:
      return ncclBfloat16;
    case DType::kInt32:
      return ncclInt32;
    case DType::kInt64:
      return ncclInt64;
    case DType::kUint8:
      return ncclUint8;
  }
  return ncclUint8;
}

ncclRedOp_t OpOf(ReduceOp op) { return op == ReduceOp::kSum ? ncclSum : ncclMax; }

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<Handle> handle)
      : Communicator(host->rank(), host->size(), host->name(), Device::kCuda),
        host_(std::move(host)),
        handle_(std::move(handle)) {}
  ~NcclCommunicator() override {
    cudaStreamSynchronize(CommStream());
    const WatchedCall watched(absl::StrCat("ending NCCL for the group '", name(), "'"));
    const std::lock_guard<std::mutex> lock(handle_->mutex);
    Nccl().CommDestroy(handle_->comm);
    handle_->comm = nullptr;
  }

  Pending AllReduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) override {
    if (count == 0) return Pending();
    return Queue("all_reduce", [&](ncclComm_t comm, cudaStream_t stream) {
      return Nccl().AllReduce(in, out, static_cast<size_t>(count), TypeOf(dtype), OpOf(op), comm,
                              stream);
    });
  }

  Pending ReduceScatter(const void* in, void* out, int64_t count, DType dtype,
                        ReduceOp op) override {
    if (count == 0) return Pending();
    return Queue("reduce_scatter", [&](ncclComm_t comm, cudaStream_t stream) {
      return Nccl().ReduceScatter(in, out, static_cast<size_t>(count), TypeOf(dtype), OpOf(op),
                                  comm, stream);
    });
  }

  Pending AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                    DType dtype) override {
    CHECK(counts.size() == static_cast<size_t>(size()), counts.size(), " counts in a group of ",
          size());
    bool equal = true;
    for (const int64_t count : counts) equal = equal && count == counts[0];
    if (equal && counts[0] == 0) return Pending();
    return Queue("all_gather", [&](ncclComm_t comm, cudaStream_t stream) {
      if (equal) {
        return Nccl().AllGather(in, out, static_cast<size_t>(counts[0]), TypeOf(dtype), comm,
                                stream);
      }
      Check("all_gather", Nccl().GroupStart());
      for (int r = 0; r < size(); ++r) {
        const auto i = static_cast<size_t>(r);
        if (counts[i] == 0) continue;
        char* part = static_cast<char*>(out) + SumOfCounts(counts, i) * SizeOf(dtype);
        Check("all_gather",
              Nccl().Broadcast(r == rank() ? in : part, part, static_cast<size_t>(counts[i]),
                               TypeOf(dtype), r, comm, stream));
      }
      return Nccl().GroupEnd();
    });
  }

  Pending AllToAll(const void* in, absl::Span<const int64_t> send_counts, void* out,
                   absl::Span<const int64_t> receive_counts, DType dtype) override {
    const auto n = static_cast<size_t>(size());
    CHECK(send_counts.size() == n && receive_counts.size() == n, "counts of a group of ", size());
    return Queue("all_to_all", [&](ncclComm_t comm, cudaStream_t stream) {
      Check("all_to_all", Nccl().GroupStart());
      for (size_t r = 0; r < n; ++r) {
        if (send_counts[r] > 0) {
          const char* part =
              static_cast<const char*>(in) + SumOfCounts(send_counts, r) * SizeOf(dtype);
          Check("all_to_all", Nccl().Send(part, static_cast<size_t>(send_counts[r]), TypeOf(dtype),
                                          static_cast<int>(r), comm, stream));
        }
        if (receive_counts[r] > 0) {
          char* part = static_cast<char*>(out) + SumOfCounts(receive_counts, r) * SizeOf(dtype);
          Check("all_to_all", Nccl().Recv(part, static_cast<size_t>(receive_counts[r]),
                                          TypeOf(dtype), static_cast<int>(r), comm, stream));
        }
      }
      return Nccl().GroupEnd();
    });
  }

  Pending Broadcast(void* data, int64_t count, DType dtype, int root) override {
    if (count == 0) return Pending();
    return Queue("broadcast", [&](ncclComm_t comm, cudaStream_t stream) {
      return Nccl().Broadcast(data, data, static_cast<size_t>(count), TypeOf(dtype), root, comm,
                              stream);
    });
  }

  void Barrier() override {
    CUDA_CHECK(cudaStreamSynchronize(Compute()));
    CUDA_CHECK(cudaStreamSynchronize(CommStream()));
    host_->Barrier();
  }

 private:
  std::string What(const char* operation) const {
    return absl::StrCat(operation, " over '", name(), "' (rank ", rank(), " of ", size(), ")");
  }

  void Check(const char* operation, ncclResult_t result) const {
    if (result == ncclSuccess) return;
    CommFailed(absl::StrCat(What(operation), ": NCCL: ", NcclError(result)));
  }

  template <typename F>
  Pending Queue(const char* name, const F& start) {
    auto operation = std::make_shared<Operation>();
    const CudaEvent computed;
    computed.RecordOn(Compute());
    computed.MakeWait(CommStream());
    operation->begin.RecordOn(CommStream());
    const std::string what = What(name);
    {
      // The first operations of a kind connect the ranks, for which the host waits in the call.
      const WatchedCall watched(what);
      Check(name, start(handle_->comm, CommStream()));
    }
    operation->end.RecordOn(CommStream());
    Watch({what, [what, operation, handle = handle_](const std::string& activity) {
             if (operation->end.Happened(what, activity)) return WatchedOperation::State::kDone;
             const std::lock_guard<std::mutex> lock(handle->mutex);
             ncclResult_t error = ncclSuccess;
             if (handle->comm != nullptr) Nccl().CommGetAsyncError(handle->comm, &error);
             if (error != ncclSuccess && error != ncclInProgress) {
               CommFailed(absl::StrCat(what, ": NCCL: ", NcclError(error)), activity);
             }
             return operation->begin.Happened(what, activity) ? WatchedOperation::State::kRunning
                                                              : WatchedOperation::State::kQueued;
           }});
    return Pending(operation);
  }

  std::unique_ptr<Communicator> host_;
  std::shared_ptr<Handle> handle_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(
    std::unique_ptr<Communicator> host) {
  RETURN_IF_ERROR(Agree(*host, LoadNccl()));
  CommStream();
  SetDeviceWaitSeconds([] { return DeviceWaits::Get().Seconds(); });
  ncclUniqueId id;
  ncclResult_t result = ncclSuccess;
  if (host->rank() == 0) result = Nccl().GetUniqueId(&id);
  const auto status = [&] {
    return result == ncclSuccess
               ? absl::OkStatus()
               : absl::UnavailableError(absl::StrCat("NCCL does not start for the group '",
                                                     host->name(), "': ", NcclError(result)));
  };
  RETURN_IF_ERROR(Agree(*host, status()));
  host->Broadcast(&id, sizeof(id), DType::kUint8, 0);
  auto handle = std::make_shared<Handle>();
  {
    const WatchedCall watched(absl::StrCat("starting NCCL for the group '", host->name(), "'"));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.minCTAs = kMinCtas;
    config.maxCTAs = kMaxCtas;
    result = Nccl().CommInitRankConfig(&handle->comm, host->size(), id, host->rank(), &config);
  }
  RETURN_IF_ERROR(Agree(*host, status()));
  return std::unique_ptr<Communicator>(new NcclCommunicator(std::move(host), std::move(handle)));
}

}  // namespace wyvern
