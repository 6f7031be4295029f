#include "kernels/comm/host/host_communicator.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

// Elements of a part that are reduced at a time, so that what arrives stays in the cache.
constexpr int64_t kSegment = 64 * 1024;

// Up to so many bytes of all ranks together, a round's delay counts more than its bytes: the
// collectives that agree on a step take about log2 of the ranks in rounds, not their number.
constexpr int64_t kFewBytes = 64 * 1024;

// Whether sums and maxima are the same in any order.
bool IsExact(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kInt64; }

template <typename T>
struct Sum {
  using Type = T;
  static T Read(T x) { return x; }
  static T Write(T x) { return x; }
};
template <>
struct Sum<Bf16> {
  using Type = float;
  static float Read(Bf16 x) { return ToFloat(x); }
  static Bf16 Write(float x) { return ToBf16(x); }
};

// out[i] = reduction over parts[0..][i]; `out` may be one of them.
template <typename T>
void Reduce(const std::vector<const void*>& parts, void* out, int64_t count, ReduceOp op) {
  using S = typename Sum<T>::Type;
  T* to = static_cast<T*>(out);
  S sums[256];
  for (int64_t begin = 0; begin < count; begin += 256) {
    const int64_t n = std::min<int64_t>(256, count - begin);
    for (size_t r = 0; r < parts.size(); ++r) {
      const T* from = static_cast<const T*>(parts[r]) + begin;
      for (int64_t i = 0; i < n; ++i) {
        const S x = Sum<T>::Read(from[i]);
        // A maximum keeps a NaN once it met one.
        sums[i] = r == 0                                 ? x
                  : op == ReduceOp::kSum                 ? sums[i] + x
                  : (sums[i] >= x || sums[i] != sums[i]) ? sums[i]
                                                         : x;
      }
    }
    for (int64_t i = 0; i < n; ++i) to[begin + i] = Sum<T>::Write(sums[i]);
  }
}

void ReduceParts(DType dtype, const std::vector<const void*>& parts, void* out, int64_t count,
                 ReduceOp op) {
  switch (dtype) {
    case DType::kFloat64:
      return Reduce<double>(parts, out, count, op);
    case DType::kFloat32:
      return Reduce<float>(parts, out, count, op);
    case DType::kBf16:
      return Reduce<Bf16>(parts, out, count, op);
    case DType::kInt32:
      return Reduce<int32_t>(parts, out, count, op);
    case DType::kInt64:
      return Reduce<int64_t>(parts, out, count, op);
    case DType::kUint8:
      break;
  }
  CHECK(false, "no reduction of ", Name(dtype));
}

class HostCommunicator : public Communicator {
 public:
  HostCommunicator(Transport* transport, std::vector<int> members, int rank, std::string name)
      : Communicator(rank, static_cast<int>(members.size()), std::move(name), Device::kCpu),
        transport_(transport),
        members_(std::move(members)) {}

  Pending AllReduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) override {
    CountHostCall();
    const int64_t bytes = count * SizeOf(dtype);
    if (bytes * size() <= kFewBytes) {
      ReduceGathered(in, out, count, dtype, op);
      return Pending();
    }
    if (IsExact(dtype)) {
      Copy(in, out, bytes);
      ReduceByDoubling(out, count, dtype, op);
      return Pending();
    }
    // Each rank reduces one part, and all gather the results.
    std::vector<int64_t> counts;
    for (int r = 0; r < size(); ++r) counts.push_back(Begin(r + 1, count) - Begin(r, count));
    char* own = static_cast<char*>(out) + Begin(rank(), count) * SizeOf(dtype);
    ReduceOwnPart("all_reduce", in, own, counts, dtype, op);
    Gather("all_reduce", own, out, counts, dtype);
    return Pending();
  }

  Pending ReduceScatter(const void* in, void* out, int64_t count, DType dtype,
                        ReduceOp op) override {
    CountHostCall();
    ReduceOwnPart("reduce_scatter", in, out, std::vector<int64_t>(members_.size(), count), dtype,
                  op);
    return Pending();
  }

  Pending AllGather(const void* in, void* out, absl::Span<const int64_t> counts,
                    DType dtype) override {
    CountHostCall();
    Gather("all_gather", in, out, counts, dtype);
    return Pending();
  }

  Pending AllToAll(const void* in, absl::Span<const int64_t> send_counts, void* out,
                   absl::Span<const int64_t> receive_counts, DType dtype) override {
    CountHostCall();
    CHECK(send_counts.size() == members_.size() && receive_counts.size() == members_.size(),
          "counts of a group of ", size());
    const int64_t bytes = SizeOf(dtype);
    const auto part = [&](const void* base, absl::Span<const int64_t> counts, int r) {
      return static_cast<char*>(const_cast<void*>(base)) +
             SumOfCounts(counts, static_cast<size_t>(r)) * bytes;
    };
    CHECK(send_counts[rank()] == receive_counts[rank()], "a rank sends itself ",
          send_counts[rank()], " elements and expects ", receive_counts[rank()]);
    Copy(part(in, send_counts, rank()), part(out, receive_counts, rank()),
         send_counts[rank()] * bytes);
    for (int step = 1; step < size(); ++step) {
      const int to = (rank() + step) % size(), from = (rank() - step + size()) % size();
      Exchange("all_to_all", to, part(in, send_counts, to), send_counts[to] * bytes, from,
               part(out, receive_counts, from), receive_counts[from] * bytes);
    }
    return Pending();
  }

  Pending Broadcast(void* data, int64_t count, DType dtype, int root) override {
    CountHostCall();
    CHECK(root >= 0 && root < size(), "rank ", root, " of a group of ", size());
    // A binomial tree: in the round of `step`, the first `step` ranks from root on have the data.
    const int64_t bytes = count * SizeOf(dtype);
    const int place = (rank() - root + size()) % size();
    for (int step = 1; step < size(); step *= 2) {
      const auto rank_at = [&](int p) { return (p + root) % size(); };
      if (place < step && place + step < size()) {
        Exchange("broadcast", rank_at(place + step), data, bytes, 0, nullptr, 0);
      } else if (place >= step && place < 2 * step) {
        Exchange("broadcast", 0, nullptr, 0, rank_at(place - step), data, bytes);
      }
    }
    return Pending();
  }

  void Barrier() override {
    CountHostCall();
    std::vector<uint8_t> all(members_.size());
    Gather("barrier", &all[static_cast<size_t>(rank())], all.data(),
           std::vector<int64_t>(members_.size(), 1), DType::kUint8);
  }

 private:
  int64_t Begin(int r, int64_t count) const { return count * r / size(); }

  static void Copy(const void* from, void* to, int64_t num_bytes) {
    if (num_bytes > 0 && from != to) std::memcpy(to, from, static_cast<size_t>(num_bytes));
  }

  void Exchange(const char* operation, int to, const void* send, int64_t send_bytes, int from,
                void* receive, int64_t receive_bytes) {
    transport_->Exchange({members_[to], const_cast<void*>(send), static_cast<size_t>(send_bytes)},
                         {members_[from], receive, static_cast<size_t>(receive_bytes)},
                         absl::StrCat(operation, " over '", name(), "'"));
  }

  // out = reduction over the ranks of part rank() of their `in`.
  void ReduceOwnPart(const char* operation, const void* in, void* out,
                     absl::Span<const int64_t> counts, DType dtype, ReduceOp op) {
    const int64_t bytes = SizeOf(dtype);
    const int64_t longest = *std::max_element(counts.begin(), counts.end());
    const int64_t segment = std::min(kSegment, longest);
    std::vector<char> arrived(static_cast<size_t>(segment * bytes) * members_.size());
    const char* from_in = static_cast<const char*>(in);
    for (int64_t begin = 0; begin < longest; begin += segment) {
      const auto length = [&](int r) {
        return std::clamp<int64_t>(counts[static_cast<size_t>(r)] - begin, 0, segment);
      };
      const auto part = [&](int r) {
        return from_in + (SumOfCounts(counts, static_cast<size_t>(r)) + begin) * bytes;
      };
      const int64_t own = length(rank());
      std::vector<const void*> parts;
      for (int r = 0; r < size(); ++r) parts.push_back(arrived.data() + r * segment * bytes);
      parts[static_cast<size_t>(rank())] = part(rank());
      for (int step = 1; step < size(); ++step) {
        const int to = (rank() + step) % size(), from = (rank() - step + size()) % size();
        Exchange(operation, to, part(to), length(to) * bytes, from,
                 arrived.data() + from * segment * bytes, own * bytes);
      }
      if (own > 0) ReduceParts(dtype, parts, static_cast<char*>(out) + begin * bytes, own, op);
    }
  }

  // Every rank gathers all and reduces them, in the same order.
  void ReduceGathered(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) {
    const int64_t bytes = count * SizeOf(dtype);
    std::vector<char> all(static_cast<size_t>(bytes) * members_.size());
    GatherInRounds("all_reduce", in, all.data(), std::vector<int64_t>(members_.size(), bytes));
    std::vector<const void*> parts;
    for (int r = 0; r < size(); ++r) parts.push_back(all.data() + r * bytes);
    ReduceParts(dtype, parts, out, count, op);
  }

  // Recursive doubling: in the round of `step` two ranks that are so far apart add what each has
  // of `step` ranks. Those beyond the largest power of two give theirs to another one first, and
  // get the result at the end.
  void ReduceByDoubling(void* data, int64_t count, DType dtype, ReduceOp op) {
    const int64_t bytes = count * SizeOf(dtype);
    int paired = 1;
    while (2 * paired <= size()) paired *= 2;
    const bool is_extra = rank() >= paired;
    const int partner = is_extra ? rank() - paired : rank() + paired;
    const bool has_partner = partner < size();
    std::vector<char> other(static_cast<size_t>(bytes));
    const auto add = [&] { ReduceParts(dtype, {data, other.data()}, data, count, op); };
    if (is_extra) {
      Exchange("all_reduce", partner, data, bytes, 0, nullptr, 0);
      Exchange("all_reduce", 0, nullptr, 0, partner, data, bytes);
      return;
    }
    if (has_partner) {
      Exchange("all_reduce", 0, nullptr, 0, partner, other.data(), bytes);
      add();
    }
    for (int step = 1; step < paired; step *= 2) {
      const int peer = rank() ^ step;
      Exchange("all_reduce", peer, data, bytes, peer, other.data(), bytes);
      add();
    }
    if (has_partner) Exchange("all_reduce", partner, data, bytes, 0, nullptr, 0);
  }

  void Gather(const char* operation, const void* in, void* out, absl::Span<const int64_t> counts,
              DType dtype) {
    CHECK(counts.size() == members_.size(), counts.size(), " counts in a group of ", size());
    std::vector<int64_t> bytes;
    for (const int64_t count : counts) bytes.push_back(count * SizeOf(dtype));
    if (SumOfCounts(bytes, bytes.size()) <= kFewBytes) {
      GatherInRounds(operation, in, out, bytes);
    } else {
      GatherAroundRing(operation, in, out, bytes);
    }
  }

  // Bruck et al., "Efficient Algorithms for All-to-All Communications in Multiport Message-Passing
  // Systems", 1997: after a round a rank has the parts of twice as many ranks, from itself on.
  void GatherInRounds(const char* operation, const void* in, void* out,
                      absl::Span<const int64_t> bytes) {
    // Where the parts lie in `out`, and in `held`: from this rank's on.
    std::vector<int64_t> places = {0}, begins = {0};
    const auto rank_at = [&](int i) { return (rank() + i) % size(); };
    for (int i = 0; i < size(); ++i) {
      places.push_back(places.back() + bytes[static_cast<size_t>(i)]);
      begins.push_back(begins.back() + bytes[static_cast<size_t>(rank_at(i))]);
    }
    const auto begin = [&](int i) { return begins[static_cast<size_t>(i)]; };
    std::vector<char> held(static_cast<size_t>(begins.back()));
    Copy(in, held.data(), begin(1));
    for (int have = 1; have < size(); have *= 2) {
      const int more = std::min(have, size() - have);
      Exchange(operation, (rank() - have + size()) % size(), held.data(), begin(more),
               rank_at(have), held.data() + begin(have), begin(have + more) - begin(have));
    }
    for (int i = 0; i < size(); ++i) {
      Copy(held.data() + begin(i),
           static_cast<char*>(out) + places[static_cast<size_t>(rank_at(i))],
           begin(i + 1) - begin(i));
    }
  }

  // Each rank passes on what it received last.
  void GatherAroundRing(const char* operation, const void* in, void* out,
                        absl::Span<const int64_t> bytes) {
    const auto part = [&](int r) {
      return static_cast<char*>(out) + SumOfCounts(bytes, static_cast<size_t>(r));
    };
    Copy(in, part(rank()), bytes[static_cast<size_t>(rank())]);
    const int right = (rank() + 1) % size(), left = (rank() - 1 + size()) % size();
    for (int step = 0; step + 1 < size(); ++step) {
      const int sent = (rank() - step + size()) % size();
      const int received = (sent - 1 + size()) % size();
      Exchange(operation, right, part(sent), bytes[static_cast<size_t>(sent)], left, part(received),
               bytes[static_cast<size_t>(received)]);
    }
  }

  Transport* transport_;
  std::vector<int> members_;
};

}  // namespace

std::unique_ptr<Communicator> MakeHostCommunicator(Transport* transport, std::vector<int> members,
                                                   std::string name) {
  const auto found = std::find(members.begin(), members.end(), transport->rank());
  CHECK(found != members.end(), "rank ", transport->rank(), " is not of the group '", name, "'");
  const int rank = static_cast<int>(found - members.begin());
  return std::make_unique<HostCommunicator>(transport, std::move(members), rank, std::move(name));
}

}  // namespace wyvern
