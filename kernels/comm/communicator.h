// Collectives over one group of ranks, behind one interface: a single process, ranks that exchange
// messages over MPI or TCP (host memory), NCCL (device memory).
//
// All members of a group make the same calls in the same order with sizes that fit each other. The
// calls of one process run in the order in which they were made, across all its groups.
//
// Host memory: a call returns when it is done. Device memory: a call queues the operation on the
// communication stream and returns. The operation starts after everything that was queued on the
// compute stream before the call; the compute stream runs beside it, until Pending::Wait. Until
// then the buffers must neither be freed, nor written, nor (the output) read.
//
// The same call on the same numbers gives the same bits every time, and all ranks receive the same
// bits of a sum. On the host, sums run in the order of the ranks, those of bf16 in fp32.
//
// No call returns an error: without its peers a rank can do nothing. After the time-out
// (comm_failure.h), or as soon as a peer is known to be gone, the process ends with exit code 1 and
// a message that names rank, group, operation and peer.
#ifndef WYVERN_KERNELS_COMM_COMMUNICATOR_H_
#define WYVERN_KERNELS_COMM_COMMUNICATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

enum class ReduceOp { kSum, kMax };

// A queued operation. Copies stand for the same operation; a default-constructed one is done.
class Pending {
 public:
  class Work {
   public:
    virtual ~Work() = default;
    virtual void Wait() = 0;
  };

  Pending() = default;
  explicit Pending(std::shared_ptr<Work> work) : work_(std::move(work)) {}

  // Orders all that is queued on the compute stream from now on behind the operation. The host does
  // not wait. Further calls do nothing.
  void Wait() {
    if (work_ == nullptr) return;
    work_->Wait();
    work_.reset();
  }

 private:
  std::shared_ptr<Work> work_;
};

// Counts are of elements. Types: fp64, fp32, bf16, int32, int64; uint8 only where nothing is
// reduced. A count of 0 is allowed everywhere.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }  // of this process in the group
  int size() const { return size_; }
  const std::string& name() const { return name_; }  // "shard": for messages
  Device device() const { return device_; }          // where the buffers lie
  // Collectives in host memory so far, each of which has waited for other ranks.
  int64_t num_host_calls() const { return num_host_calls_; }

  // out[i] = sum (or maximum) of in[i] over the ranks. In place: out == in.
  virtual Pending AllReduce(const void* in, void* out, int64_t count, DType dtype,
                            ReduceOp op = ReduceOp::kSum) = 0;

  // `in` holds size() parts of `count`; out[i] = sum over the ranks of part rank() of their `in`.
  // In place: out == in + rank() * count; the other parts are left as they were.
  virtual Pending ReduceScatter(const void* in, void* out, int64_t count, DType dtype,
                                ReduceOp op = ReduceOp::kSum) = 0;

  // `in` holds counts[rank()] elements; `out` those of all ranks, one after another. In place: `in`
  // is this rank's place in `out`.
  virtual Pending AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                            DType dtype) = 0;
  // The same for equal parts of `count`.
  Pending AllGather(const void* in, void* out, int64_t count, DType dtype);

  // `in` holds send_counts[r] elements for each rank r, one after another; `out` gets
  // receive_counts[r] of each; receive_counts[r] here is send_counts[rank()] at r. With one count
  // that is not 0 on either side this is a send to one neighbour and a receive from another. Not in
  // place.
  virtual Pending AllToAll(const void* in, absl::Span<const int64_t> send_counts, void* out,
                           absl::Span<const int64_t> receive_counts, DType dtype) = 0;

  // Copies `data` of the rank `root` to all others.
  virtual Pending Broadcast(void* data, int64_t count, DType dtype, int root) = 0;

  // The host waits until all ranks have come here, and for the device.
  virtual void Barrier() = 0;

 protected:
  Communicator(int rank, int size, std::string name, Device device)
      : rank_(rank), size_(size), name_(std::move(name)), device_(device) {}
  void CountHostCall() { ++num_host_calls_; }

 private:
  int rank_, size_;
  std::string name_;
  Device device_;
  int64_t num_host_calls_ = 0;
};

// A group of this process alone. Copies run on the compute stream.
std::unique_ptr<Communicator> MakeSingleCommunicator(Device device, std::string name);

// counts[0] + ... + counts[end - 1].
int64_t SumOfCounts(absl::Span<const int64_t> counts, size_t end);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_COMMUNICATOR_H_
