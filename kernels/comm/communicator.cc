#include "kernels/comm/communicator.h"

#include <numeric>

#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

class SingleCommunicator : public Communicator {
 public:
  SingleCommunicator(Device device, std::string name)
      : Communicator(0, 1, std::move(name), device) {}

  Pending AllReduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp) override {
    return Copy(in, out, count, dtype);
  }
  Pending ReduceScatter(const void* in, void* out, int64_t count, DType dtype, ReduceOp) override {
    return Copy(in, out, count, dtype);
  }
  Pending AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                    DType dtype) override {
    CHECK(counts.size() == 1, counts.size(), " counts in a group of 1");
    return Copy(in, out, counts[0], dtype);
  }
  Pending AllToAll(const void* in, absl::Span<const int64_t> send_counts, void* out,
                   absl::Span<const int64_t> receive_counts, DType dtype) override {
    CHECK(send_counts.size() == 1 && send_counts == receive_counts, "counts of a group of 1");
    return Copy(in, out, send_counts[0], dtype);
  }
  Pending Broadcast(void*, int64_t, DType, int root) override {
    CHECK(root == 0, "rank ", root, " of a group of 1");
    return Pending();
  }
  void Barrier() override { Synchronize(device()); }

 private:
  Pending Copy(const void* in, void* out, int64_t count, DType dtype) const {
    CHECK(count >= 0, count, " elements");
    const auto bytes = static_cast<size_t>(count * SizeOf(dtype));
    if (in != out) CopyBytes(out, device(), in, device(), bytes);
    return Pending();
  }
};

}  // namespace

Pending Communicator::AllGather(const void* in, void* out, int64_t count, DType dtype) {
  return AllGather(in, out, std::vector<int64_t>(static_cast<size_t>(size()), count), dtype);
}

std::unique_ptr<Communicator> MakeSingleCommunicator(Device device, std::string name) {
  return std::make_unique<SingleCommunicator>(device, std::move(name));
}

int64_t SumOfCounts(absl::Span<const int64_t> counts, size_t end) {
  return std::accumulate(counts.begin(), counts.begin() + static_cast<int64_t>(end), int64_t{0});
}

}  // namespace wyvern
