// How often the host's collectives exchange messages, among ranks that are threads.
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#include "kernels/comm/host/background_reduction.h"
#include "kernels/comm/host/host_communicator.h"

namespace wyvern {
namespace {

// The messages between all ranks of a process.
struct Mail {
  std::mutex mutex;
  std::condition_variable changed;
  using Waiting = std::map<std::pair<int, int>, std::deque<std::string>>;  // by sender and receiver
  Waiting exchanged, posted;
};

class ThreadTransport : public Transport {
 public:
  ThreadTransport(Mail* mail, int rank, int size) : mail_(mail), rank_(rank), size_(size) {}
  void Exchange(const Message& send, const Message& receive, const std::string& what) override {
    ++num_exchanges;
    std::unique_lock<std::mutex> lock(mail_->mutex);
    if (send.num_bytes > 0) Send(send, &mail_->exchanged);
    if (receive.num_bytes == 0) return;
    std::deque<std::string>& from = mail_->exchanged[{receive.peer, rank_}];
    mail_->changed.wait(lock, [&] { return !from.empty(); });
    Receive(receive, &from, what);
  }
  void Post(const Message& message, const std::string&) override {
    ++num_posts;
    const std::lock_guard<std::mutex> lock(mail_->mutex);
    Send(message, &mail_->posted);
  }
  bool Take(const Message& message, bool wait, const std::string& what) override {
    std::unique_lock<std::mutex> lock(mail_->mutex);
    std::deque<std::string>& from = mail_->posted[{message.peer, rank_}];
    if (wait) mail_->changed.wait(lock, [&] { return !from.empty(); });
    if (from.empty()) return false;
    Receive(message, &from, what);
    return true;
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  int64_t num_exchanges = 0, num_posts = 0, num_bytes = 0;

 private:
  // Both are called with the mutex held.
  void Send(const Message& message, Mail::Waiting* waiting) {
    num_bytes += static_cast<int64_t>(message.num_bytes);
    (*waiting)[{rank_, message.peer}].emplace_back(static_cast<const char*>(message.data),
                                                   message.num_bytes);
    mail_->changed.notify_all();
  }
  static void Receive(const Message& message, std::deque<std::string>* from,
                      const std::string& what) {
    ASSERT_EQ(from->front().size(), message.num_bytes) << what;
    std::memcpy(message.data, from->front().data(), message.num_bytes);
    from->pop_front();
  }

  Mail* mail_;
  int rank_, size_;
};

// Calls `body` on every rank; the most exchanges of one, and the most bytes that one sent.
struct Cost {
  int64_t exchanges = 0, bytes = 0;
};
Cost OnThreads(int size, const std::function<void(Communicator&, Transport*)>& body) {
  Mail mail;
  std::vector<std::unique_ptr<ThreadTransport>> transports;
  std::vector<std::thread> threads;
  std::vector<int> members(static_cast<size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  for (const int r : members) {
    transports.push_back(std::make_unique<ThreadTransport>(&mail, r, size));
  }
  for (const auto& transport : transports) {
    threads.emplace_back([&body, &members, own = transport.get()] {
      body(*MakeHostCommunicator(own, members, "all"), own);
    });
  }
  for (std::thread& thread : threads) thread.join();
  Cost cost;
  for (const auto& transport : transports) {
    cost.exchanges = std::max(cost.exchanges, transport->num_exchanges);
    cost.bytes = std::max(cost.bytes, transport->num_bytes);
  }
  return cost;
}

int64_t CeilLog2(int size) {
  int64_t rounds = 0;
  while ((1 << rounds) < size) ++rounds;
  return rounds;
}

constexpr int kSizes[] = {1, 2, 3, 5, 7, 8, 13, 64};

TEST(HostRounds, AFewNumbersAreReducedInLogarithmicRounds) {
  for (const int size : kSizes) {
    const Cost cost = OnThreads(size, [&](Communicator& group, Transport*) {
      // Rounded in every addition: the order shows.
      const float own[3] = {1.f / static_cast<float>(3 + group.rank()), 1e8f, -1.f};
      float expected[3] = {0, 0, 0}, sums[3];
      for (int r = 0; r < size; ++r) expected[0] += 1.f / static_cast<float>(3 + r);
      expected[1] = static_cast<float>(size) * 1e8f;
      expected[2] = static_cast<float>(-size);
      group.AllReduce(own, sums, 3, DType::kFloat32);
      EXPECT_EQ(sums[0], expected[0]) << size << " ranks";
      EXPECT_EQ(sums[2], expected[2]);
    });
    EXPECT_EQ(cost.exchanges, CeilLog2(size));
    EXPECT_EQ(cost.bytes, 3 * 4 * (size - 1));
  }
}

TEST(HostRounds, ManyIntegersToo) {
  constexpr int64_t kCount = 20000;
  for (const int size : kSizes) {
    const Cost cost = OnThreads(size, [&](Communicator& group, Transport*) {
      std::vector<int64_t> all(kCount);
      for (int64_t i = 0; i < kCount; ++i) all[static_cast<size_t>(i)] = i * (group.rank() + 1);
      group.AllReduce(all.data(), all.data(), kCount, DType::kInt64);
      for (int64_t i = 0; i < kCount; ++i) {
        ASSERT_EQ(all[static_cast<size_t>(i)], i * size * (size + 1) / 2) << size << " ranks";
      }
      std::vector<int32_t> largest(kCount, -group.rank()), result(kCount);
      group.AllReduce(largest.data(), result.data(), kCount, DType::kInt32, ReduceOp::kMax);
      ASSERT_EQ(result, std::vector<int32_t>(kCount, 0));
    });
    EXPECT_LE(cost.exchanges, 2 * (CeilLog2(size) + 1));
  }
}

TEST(HostRounds, ShortPartsAreGatheredInLogarithmicRounds) {
  for (const int size : kSizes) {
    const Cost cost = OnThreads(size, [&](Communicator& group, Transport*) {
      // Rank r has r % 3 elements.
      std::vector<int64_t> counts;
      std::vector<int32_t> expected;
      for (int r = 0; r < size; ++r) {
        counts.push_back(r % 3);
        expected.insert(expected.end(), static_cast<size_t>(r % 3), r);
      }
      const std::vector<int32_t> own(static_cast<size_t>(group.rank() % 3), group.rank());
      std::vector<int32_t> all(expected.size());
      group.AllGather(own.data(), all.data(), counts, DType::kInt32);
      EXPECT_EQ(all, expected) << size << " ranks";
      group.Barrier();
    });
    EXPECT_EQ(cost.exchanges, 2 * CeilLog2(size));
  }
}

TEST(HostRounds, LongPartsMoveOnceAroundTheRing) {
  constexpr int64_t kCount = 50000;
  for (const int size : {2, 3, 8}) {
    const Cost cost = OnThreads(size, [&](Communicator& group, Transport*) {
      const std::vector<float> own(kCount, static_cast<float>(group.rank()));
      std::vector<float> all(static_cast<size_t>(kCount * size));
      group.AllGather(own.data(), all.data(),
                      std::vector<int64_t>(static_cast<size_t>(size), kCount), DType::kFloat32);
      for (int r = 0; r < size; ++r) EXPECT_EQ(all[static_cast<size_t>(r * kCount + 7)], r);
    });
    EXPECT_EQ(cost.exchanges, size - 1);
    EXPECT_EQ(cost.bytes, 4 * kCount * (size - 1));
  }
}

// All ranks take turns in one thread, so none of them ever waits.
TEST(BackgroundReduction, ReducesOverAnyNumberOfRanksInLogarithmicRounds) {
  for (const int size : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 31, 64, 65, 257, 4096}) {
    Mail mail;
    std::vector<std::unique_ptr<ThreadTransport>> transports;
    std::vector<std::unique_ptr<BackgroundReduction>> reductions;
    const auto begin = [&](int r, int64_t times) {
      reductions[static_cast<size_t>(r)]->Start({times * r, r % 5, times - r});
    };
    for (int r = 0; r < size; ++r) {
      transports.push_back(std::make_unique<ThreadTransport>(&mail, r, size));
      reductions.push_back(std::make_unique<BackgroundReduction>(
          transports.back().get(),
          std::vector<ReduceOp>{ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMax}));
    }
    for (const int64_t times : {1, 3}) {
      for (int r = 0; r < size; ++r) begin(r, times);
      for (int64_t round = 0; round < CeilLog2(size); ++round) {
        for (const auto& reduction : reductions) reduction->Progress();
      }
      for (const auto& reduction : reductions) {
        const std::vector<int64_t> expected = {times * size * (size - 1) / 2, std::min(size - 1, 4),
                                               times};
        ASSERT_EQ(reduction->Finish(), expected) << size << " ranks";
      }
    }
    const int64_t rounds = CeilLog2(size);
    const int64_t numbers = rounds == 0 ? 0 : rounds == 1 ? 3 : 2 * 3 * (rounds - 1);
    for (const auto& transport : transports) {
      ASSERT_EQ(transport->num_posts, 2 * rounds);
      ASSERT_EQ(transport->num_bytes, 2 * numbers * 8);
      ASSERT_EQ(transport->num_exchanges, 0);
    }
  }
}

TEST(BackgroundReduction, ProceedsBesideOtherCollectives) {
  const int size = 64;
  OnThreads(size, [&](Communicator& group, Transport* transport) {
    BackgroundReduction reduction(transport, {ReduceOp::kSum, ReduceOp::kMax});
    for (int64_t step = 0; step < 5; ++step) {
      reduction.Start({step + group.rank(), -group.rank()});
      for (int64_t i = 0; i < 3; ++i) {
        int64_t sum = i;
        group.AllReduce(&sum, &sum, 1, DType::kInt64);
        ASSERT_EQ(sum, i * size);
        reduction.Progress();
      }
      const std::vector<int64_t> expected = {step * size + size * (size - 1) / 2, 0};
      ASSERT_EQ(reduction.Finish(), expected);
    }
    EXPECT_EQ(reduction.num_finished(), 5);
  });
}

}  // namespace
}  // namespace wyvern
