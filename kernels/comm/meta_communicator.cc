#include "kernels/comm/meta_communicator.h"

namespace wyvern {
namespace {

class MetaCommunicator : public Communicator {
 public:
  MetaCommunicator(int rank, int size, std::string name, Device device, CommVolumes* volumes)
      : Communicator(rank, size, std::move(name), device), volumes_(volumes) {}

  Pending AllReduce(const void*, void*, int64_t count, DType dtype, ReduceOp) override {
    return Add("all_reduce", 2 * OtherShare() * Bytes(count, dtype));
  }
  Pending ReduceScatter(const void*, void*, int64_t count, DType dtype, ReduceOp) override {
    return Add("reduce_scatter", (size() - 1) * Bytes(count, dtype));
  }
  Pending AllGather(const void*, void*, absl::Span<const int64_t> counts, DType dtype) override {
    // A ring passes every part on but the one that its neighbour began with.
    const auto next = static_cast<size_t>((rank() + 1) % size());
    return Add("all_gather", Bytes(SumOfCounts(counts, counts.size()) - counts[next], dtype));
  }
  Pending AllToAll(const void*, absl::Span<const int64_t> send_counts, void*,
                   absl::Span<const int64_t>, DType dtype) override {
    const int64_t own = send_counts[static_cast<size_t>(rank())];
    return Add("all_to_all", Bytes(SumOfCounts(send_counts, send_counts.size()) - own, dtype));
  }
  Pending Broadcast(void*, int64_t count, DType dtype, int) override {
    return Add("broadcast", Bytes(count, dtype));
  }
  void Barrier() override {}

 private:
  static double Bytes(int64_t count, DType dtype) {
    return static_cast<double>(count * SizeOf(dtype));
  }
  double OtherShare() const { return static_cast<double>(size() - 1) / size(); }
  Pending Add(const char* operation, double sent_bytes) const {
    CommVolume& volume = (*volumes_)[{name(), operation}];
    ++volume.num_calls;
    volume.sent_bytes += sent_bytes;
    return Pending();
  }

  CommVolumes* volumes_;
};

}  // namespace

std::unique_ptr<Communicator> MakeMetaCommunicator(int rank, int size, std::string name,
                                                   Device device, CommVolumes* volumes) {
  return std::make_unique<MetaCommunicator>(rank, size, std::move(name), device, volumes);
}

}  // namespace wyvern
