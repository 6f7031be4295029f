#include "tests/support/collective_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/tensor.h"
#include "kernels/runtime/random.h"

namespace wyvern {
namespace {

// Around the boundaries of parts and segments.
constexpr int64_t kCounts[] = {0, 1, 5, 70001};

template <typename T>
T FromDouble(double x) {
  return static_cast<T>(x);
}
template <>
uint8_t FromDouble<uint8_t>(double x) {
  return static_cast<uint8_t>(static_cast<int64_t>(x));  // modulo 256: a plain cast has no meaning
}
template <>
Bf16 FromDouble<Bf16>(double x) {
  return ToBf16(static_cast<float>(x));
}
template <typename T>
double ToDouble(T x) {
  return static_cast<double>(x);
}
template <>
double ToDouble(Bf16 x) {
  return ToFloat(x);
}

// The contribution of rank r of `group` to `call`.
template <typename T>
std::vector<T> Contribution(const Communicator& group, const std::string& call, int r,
                            int64_t count) {
  uint64_t state = HashName(absl::StrCat(group.name(), " ", call, " ", r));
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) {
    const bool integer = std::is_integral_v<T>;
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double u = static_cast<double>(state >> 11) * 0x1p-53;
    values.push_back(FromDouble<T>(integer ? std::floor(2000 * u) - 1000 : 2 * u - 1));
  }
  return values;
}

// Sum or maximum over the ranks, in their order; bf16 adds up in fp32.
template <typename T>
std::vector<T> Reduced(const Communicator& group, const std::string& call, int64_t count,
                       ReduceOp op) {
  using S = std::conditional_t<std::is_same_v<T, Bf16>, float, T>;
  const auto read = [](T x) {
    if constexpr (std::is_same_v<T, Bf16>) {
      return ToFloat(x);
    } else {
      return x;
    }
  };
  std::vector<S> sums;
  for (int r = 0; r < group.size(); ++r) {
    const std::vector<T> values = Contribution<T>(group, call, r, count);
    for (int64_t i = 0; i < count; ++i) {
      const S x = read(values[i]);
      if (r == 0) {
        sums.push_back(x);
      } else {
        sums[i] = op == ReduceOp::kSum ? sums[i] + x : std::max(sums[i], x);
      }
    }
  }
  std::vector<T> result;
  for (const S sum : sums) {
    if constexpr (std::is_same_v<T, Bf16>) {
      result.push_back(ToBf16(sum));
    } else {
      result.push_back(sum);
    }
  }
  return result;
}

template <typename T>
class Checker {
 public:
  explicit Checker(Communicator& group) : group_(group), n_(group.size()), rank_(group.rank()) {}

  void All() {
    for (const int64_t count : kCounts) {
      for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
        if (std::is_same_v<T, uint8_t>) continue;
        for (const bool in_place : {false, true}) {
          AllReduce(count, op, in_place);
          ReduceScatter(count, op, in_place);
        }
      }
      for (const bool in_place : {false, true}) Gather(count, in_place);
      AllToAll(count);
      for (int root = 0; root < n_; ++root) Broadcast(count, root);
    }
  }

 private:
  Tensor Place(const std::vector<T>& values) const {
    return Tensor::FromVector(values, {static_cast<int64_t>(values.size())}).To(group_.device());
  }
  Tensor Poisoned(int64_t count) const {
    const Tensor t = Tensor::Empty({count}, kDTypeOf<T>, group_.device());
    FillBytes(t.raw(), t.device(), 0x5a, static_cast<size_t>(t.nbytes()));
    return t;
  }
  void Expect(const Tensor& got, const std::vector<T>& expected, const std::string& call,
              bool reduced = false) const {
    const std::vector<T> values = got.template ToVector<T>();
    ASSERT_EQ(values.size(), expected.size()) << call;
    if (values.empty()) return;
    const bool exact = !reduced || group_.device() == Device::kCpu || std::is_integral_v<T>;
    if (exact) {
      EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(T)), 0)
          << call << " of " << values.size() << " " << Name(kDTypeOf<T>);
      return;
    }
    const double ulp = std::is_same_v<T, Bf16>    ? 1.0 / 128
                       : std::is_same_v<T, float> ? 1e-6
                                                  : 1e-14;
    double worst = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::abs(ToDouble(values[i]) - ToDouble(expected[i])));
    }
    EXPECT_LE(worst, n_ * ulp) << call << " of " << values.size() << " " << Name(kDTypeOf<T>);
  }
  static Tensor Part(const Tensor& t, int64_t begin, int64_t count) {
    return t.Rows(begin, begin + count);
  }
  static void* At(const Tensor& t) { return t.numel() == 0 ? nullptr : t.raw(); }

  void AllReduce(int64_t count, ReduceOp op, bool in_place) {
    const std::string call = absl::StrCat("all_reduce ", static_cast<int>(op), in_place);
    const Tensor in = Place(Contribution<T>(group_, call, rank_, count));
    const Tensor out = in_place ? in : Poisoned(count);
    group_.AllReduce(At(in), At(out), count, kDTypeOf<T>, op).Wait();
    Expect(out, Reduced<T>(group_, call, count, op), call, /*reduced=*/true);
  }

  void ReduceScatter(int64_t count, ReduceOp op, bool in_place) {
    const std::string call = absl::StrCat("reduce_scatter ", static_cast<int>(op), in_place);
    const std::vector<T> own = Contribution<T>(group_, call, rank_, n_ * count);
    const Tensor in = Place(own);
    const Tensor out = in_place ? Part(in, rank_ * count, count) : Poisoned(count);
    group_.ReduceScatter(At(in), At(out), count, kDTypeOf<T>, op).Wait();
    const std::vector<T> all = Reduced<T>(group_, call, n_ * count, op);
    Expect(out, {all.begin() + rank_ * count, all.begin() + (rank_ + 1) * count}, call,
           /*reduced=*/true);
    if (in_place) {
      Expect(Part(in, 0, rank_ * count), {own.begin(), own.begin() + rank_ * count},
             call + ": the parts before");
    }
  }

  // Rank r contributes about count * (r + 1) / n elements, rank 1 none.
  void Gather(int64_t count, bool in_place) {
    const std::string call = absl::StrCat("all_gather ", in_place);
    std::vector<int64_t> counts;
    std::vector<T> expected;
    for (int r = 0; r < n_; ++r) {
      counts.push_back(r == 1 ? 0 : count * (r + 1) / n_);
      const std::vector<T> part = Contribution<T>(group_, call, r, counts.back());
      expected.insert(expected.end(), part.begin(), part.end());
    }
    const Tensor out = Poisoned(static_cast<int64_t>(expected.size()));
    Tensor in = Place(Contribution<T>(group_, call, rank_, counts[rank_]));
    if (in_place) {
      const Tensor place = Part(out, SumOfCounts(counts, rank_), counts[rank_]);
      place.CopyFrom(in);
      in = place;
    }
    group_.AllGather(At(in), At(out), counts, kDTypeOf<T>).Wait();
    Expect(out, expected, call);
    // Equal parts.
    const Tensor one = Place(Contribution<T>(group_, "equal", rank_, count));
    const Tensor all = Poisoned(n_ * count);
    group_.AllGather(At(one), At(all), count, kDTypeOf<T>).Wait();
    expected.clear();
    for (int r = 0; r < n_; ++r) {
      const std::vector<T> part = Contribution<T>(group_, "equal", r, count);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    Expect(all, expected, "all_gather of equal parts");
  }

  // From rank a to rank b go (2 a + b) % 3 thirds of count.
  void AllToAll(int64_t count) {
    const auto between = [&](int a, int b) { return (2 * a + b) % 3 * count / 3; };
    std::vector<int64_t> send, receive;
    std::vector<T> expected;
    for (int r = 0; r < n_; ++r) {
      send.push_back(between(rank_, r));
      receive.push_back(between(r, rank_));
    }
    for (int r = 0; r < n_; ++r) {
      int64_t before = 0, total = 0;
      for (int b = 0; b < n_; ++b) {
        if (b < rank_) before += between(r, b);
        total += between(r, b);
      }
      const std::vector<T> theirs = Contribution<T>(group_, "all_to_all", r, total);
      expected.insert(expected.end(), theirs.begin() + before,
                      theirs.begin() + before + receive[r]);
    }
    const Tensor in =
        Place(Contribution<T>(group_, "all_to_all", rank_, SumOfCounts(send, send.size())));
    const Tensor out = Poisoned(static_cast<int64_t>(expected.size()));
    group_.AllToAll(At(in), send, At(out), receive, kDTypeOf<T>).Wait();
    Expect(out, expected, "all_to_all");
  }

  void Broadcast(int64_t count, int root) {
    const Tensor data = Place(Contribution<T>(group_, "broadcast", rank_, count));
    group_.Broadcast(At(data), count, kDTypeOf<T>, root).Wait();
    Expect(data, Contribution<T>(group_, "broadcast", root, count), "broadcast");
  }

  Communicator& group_;
  const int n_, rank_;
};

}  // namespace

void CheckCollectives(Communicator& group) {
  Checker<double>(group).All();
  Checker<float>(group).All();
  Checker<Bf16>(group).All();
  Checker<int32_t>(group).All();
  Checker<int64_t>(group).All();
  Checker<uint8_t>(group).All();
  group.Barrier();
}

void CheckBackgroundReduction(World& world) {
  const int64_t n = world.size(), rank = world.rank();
  const auto reduction = world.MakeBackgroundReduction({ReduceOp::kSum, ReduceOp::kMax});
  for (int64_t step = 0; step < 4; ++step) {
    reduction->Start({step + rank, -step * rank});
    // Short, around the ring, and from one rank: what is posted comes between their messages.
    for (const int64_t count : {1, 100000}) {
      std::vector<float> sums(static_cast<size_t>(count), 1.f);
      world.host().AllReduce(sums.data(), sums.data(), count, DType::kFloat32);
      EXPECT_EQ(sums.front(), n);
      EXPECT_EQ(sums.back(), n);
      reduction->Progress();
      std::vector<int32_t> from_last(static_cast<size_t>(count), static_cast<int32_t>(rank));
      world.host().Broadcast(from_last.data(), count, DType::kInt32, world.size() - 1);
      EXPECT_EQ(from_last.back(), n - 1);
      // On some ranks it proceeds at other times than on others.
      if (rank % 2 == 0) reduction->Progress();
    }
    EXPECT_EQ(reduction->Finish(), (std::vector<int64_t>{step * n + n * (n - 1) / 2, 0}));
  }
  EXPECT_EQ(reduction->num_finished(), 4);
  world.host().Barrier();
}

}  // namespace wyvern
