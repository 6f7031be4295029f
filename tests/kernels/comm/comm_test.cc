// Collectives over TCP between threads of this process that act as ranks; tests/ranks/ runs the
// same checks on real processes.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "kernels/comm/failure/comm_failure.h"
#include "kernels/comm/failure/wait_clock.h"
#include "kernels/comm/failure/watchdog.h"
#include "kernels/comm/host/host_communicator.h"
#include "kernels/comm/world.h"
#include "tests/support/collective_checks.h"
#include "tests/support/on_ranks.h"

namespace wyvern {
namespace {

TEST(Comm, OneProcessCopies) {
  const auto world = World::Single();
  EXPECT_EQ(world->size(), 1);
  CheckCollectives(world->host());
}

TEST(Comm, CollectivesOfSeveralRanks) {
  for (const int size : {2, 3}) {
    OnRanks(size, [&](World* world) {
      EXPECT_EQ(world->size(), size);
      EXPECT_EQ(world->local_rank(), world->rank());
      EXPECT_EQ(world->local_size(), size);
      CheckCollectives(world->host());
    });
  }
}

TEST(Comm, ReductionsProceedBesideCollectives) {
  for (const int size : {1, 2, 3, 5}) {
    OnRanks(size, [](World* world) { CheckBackgroundReduction(*world); });
  }
}

TEST(Comm, GroupsWorkSideBySide) {
  OnRanks(4, [](World* world) {
    const int r = world->rank();
    const auto row = world->MakeGroup(Device::kCpu, {r / 2 * 2, r / 2 * 2 + 1}, "row");
    const auto column = world->MakeGroup(Device::kCpu, {r % 2, r % 2 + 2}, "column");
    const auto alone = world->MakeGroup(Device::kCpu, {r}, "alone");
    ASSERT_TRUE(row.ok() && column.ok() && alone.ok());
    EXPECT_EQ((*row)->rank(), r % 2);
    EXPECT_EQ((*column)->rank(), r / 2);
    int64_t sums[3];
    const int64_t own = int64_t{1} << (8 * r);
    (*row)->AllReduce(&own, &sums[0], 1, DType::kInt64);
    (*column)->AllReduce(&own, &sums[1], 1, DType::kInt64);
    (*alone)->AllReduce(&own, &sums[2], 1, DType::kInt64);
    EXPECT_EQ(sums[0], r < 2 ? 0x101 : 0x1010000);
    EXPECT_EQ(sums[1], r % 2 == 0 ? 0x10001 : 0x1000100);
    EXPECT_EQ(sums[2], own);
  });
}

TEST(Comm, AFailureOfOneRankIsTheStatusOfAll) {
  OnRanks(3, [](World* world) {
    EXPECT_TRUE(Agree(world->host(), absl::OkStatus()).ok());
    const absl::Status status =
        Agree(world->host(), world->rank() == 0
                                 ? absl::OkStatus()
                                 : absl::NotFoundError(absl::StrCat("no file ", world->rank())));
    EXPECT_EQ(status, absl::NotFoundError("rank 1: no file 1"));
    EXPECT_EQ(GatherTexts(world->host(), std::string(static_cast<size_t>(world->rank()), 'x')),
              (std::vector<std::string>{"", "x", "xx"}));
  });
}

TEST(Comm, RanksThatMetOtherwiseProveTheirToken) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"", "", ""}, ""},
      {{"a", "a", "a"}, ""},
      {{"a", "", "a"}, "rank 1 has no WYVERN_RUN_TOKEN, and rank "},
      {{"", "a", "a"}, "rank 0 has no WYVERN_RUN_TOKEN, and rank "},
      {{"a", "a", "b"}, "has another WYVERN_RUN_TOKEN than rank"},
  };
  for (const auto& [tokens, message] : cases) {
    OnRanks(3, [&, tokens = tokens, message = message](World* world) {
      const absl::Status status =
          ProveToken(world->host(), tokens[static_cast<size_t>(world->rank())]);
      EXPECT_EQ(status.ok(), message.empty()) << status;
      EXPECT_NE(std::string(status.message()).find(message), std::string::npos) << status;
    });
  }
}

// In a child process; `peer` is what rank 1 does instead of the broadcast.
void FailAsRankZero(const std::function<void(World&)>& peer) {
  SetCommTimeout(0.3);
  SetCommIdentity("rank 0 of 2 (here)");
  SetCommActivity("step 7");
  OnRanks(2, [&](World* world) {
    if (world->rank() == 1) return peer(*world);
    int64_t one = 1;
    world->host().AllReduce(&one, &one, 1, DType::kInt64);
  });
}

TEST(CommDeathTest, ARankThatDoesNotAnswerIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      FailAsRankZero([](World&) { std::this_thread::sleep_for(std::chrono::seconds(20)); }),
      testing::ExitedWithCode(1),
      "rank 0 of 2 \\(here\\): step 7: all_reduce over 'world': waiting for rank 1: no answer "
      "within 0.3 s");
}

TEST(CommDeathTest, ARankThatEndedIsNoticedAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(FailAsRankZero([](World&) {}), testing::ExitedWithCode(1),
              "waiting for rank 1: (it closed the connection|the connection broke)");
}

TEST(CommDeathTest, RanksThatDoDifferentThingsAreNoticed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(FailAsRankZero([](World& world) {
                std::vector<int64_t> three(3);
                world.host().AllReduce(three.data(), three.data(), 3, DType::kInt64);
              }),
              testing::ExitedWithCode(1), "the ranks do different things");
}

TEST(CommDeathTest, ThePhaseOfAStepIsNamedAndTheObserverAdds) {
  struct Observer : public CommObserver {
    void Waits(const std::string& what) override {
      std::fprintf(stderr, "<waits %s>", what.c_str());
    }
    void GoesOn(double) override { std::fprintf(stderr, "<goes on>"); }
    void Warns(const std::string&) override {}
    std::string Fails(const std::string& message) override {
      std::fprintf(stderr, "<fails %s>", message.c_str());
      return "it was rank 1";
    }
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        static Observer observer;
        SetCommObserver(&observer);
        SetCommPhase("forgotten");
        SetCommActivity("step 7");
        SetCommPhase("update");
        SetCommTimeout(0.3);
        OnRanks(2, [&](World* world) {
          int64_t one = 1;
          if (world->rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(20));
          world->host().AllReduce(&one, &one, 1, DType::kInt64);
        });
      },
      testing::ExitedWithCode(1),
      "<waits step 7, update: all_reduce over 'world', for rank 1>wyvern: step 7, update: "
      "all_reduce over 'world': waiting for rank 1: no answer within 0.3 s[^\n]*\n<fails step 7, "
      "update: all_reduce[^\n]*>wyvern: it was rank 1");
}

// The device's operations as the watchdog sees them.
TEST(CommDeathTest, AnOperationThatDoesNotEndIsNamedWithWhatWentOnWhenItBegan) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  using State = WatchedOperation::State;
  EXPECT_EXIT(
      {
        SetCommTimeout(0.3);
        SetCommIdentity("rank 0 of 2 (here)");
        SetCommActivity("step 8");
        static std::atomic<int> looks{0};
        // Work before it is done at the third look; until then no time counts.
        Watch({"all_gather over 'shard'",
               [](const std::string&) { return ++looks < 3 ? State::kQueued : State::kDone; }});
        SetCommPhase("forward and backward");
        Watch({"reduce_scatter over 'shard' (rank 0 of 2)",
               [](const std::string&) { return State::kRunning; }});
        SetCommActivity("step 9");
        std::this_thread::sleep_for(std::chrono::seconds(20));
      },
      testing::ExitedWithCode(1),
      "^wyvern: rank 0 of 2 \\(here\\): step 8, forward and backward: reduce_scatter over 'shard' "
      "\\(rank 0 of 2\\): not done within 0.3 s");
  EXPECT_EXIT(
      {
        SetCommTimeout(0.3);
        const WatchedCall call("starting NCCL for the group 'shard'");
        std::this_thread::sleep_for(std::chrono::seconds(20));
      },
      testing::ExitedWithCode(1), "starting NCCL for the group 'shard': not done within 0.3 s");
}

// A driver gives no answer while another call into it waits for the lost peer.
TEST(CommDeathTest, AnOperationThatTheGpuSaysNothingOfEndsToo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        SetCommTimeout(1.5);
        SetCommActivity("step 9");
        Watch({"all_to_all over 'expert'", [](const std::string&) {
                 std::this_thread::sleep_for(std::chrono::seconds(20));
                 return WatchedOperation::State::kDone;
               }});
        // An operation that is queued later does not wait for the answer either.
        Watch({"all_reduce over 'world'",
               [](const std::string&) { return WatchedOperation::State::kDone; }});
        std::this_thread::sleep_for(std::chrono::seconds(20));
      },
      testing::ExitedWithCode(1),
      "wyvern: step 9: all_to_all over 'expert': not done within 1.5 s, and the GPU's driver does "
      "not answer; another rank");
}

TEST(Comm, TimeSpentWaitingIsCounted) {
  // A busy machine may hold up the rank that is to wait, but not every time.
  double waited = 0;
  for (int i = 0; i < 20 && waited < 0.02; ++i) {
    const double before = CommWaitSeconds();
    OnRanks(2, [](World* world) {
      if (world->rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      int64_t one = 1;
      world->host().AllReduce(&one, &one, 1, DType::kInt64);
    });
    waited = CommWaitSeconds() - before;
  }
  EXPECT_GE(waited, 0.02);
}

absl::StatusOr<RankEnvironment> Read(const std::map<std::string, std::string>& variables) {
  return ReadRankEnvironment([&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? "" : found->second;
  });
}

TEST(RankEnvironment, SaysHowTheProcessWasStarted) {
  using Start = RankEnvironment::Start;
  EXPECT_EQ(Read({})->start, Start::kSingle);
  EXPECT_EQ(Read({{"WORLD_SIZE", "1"}, {"RANK", "0"}})->start, Start::kSingle);
  EXPECT_EQ(Read({{"OMPI_COMM_WORLD_SIZE", "1"}})->start, Start::kSingle);
  EXPECT_EQ(Read({{"OMPI_COMM_WORLD_SIZE", "4"}, {"WORLD_SIZE", "1"}, {"RANK", "0"}})->start,
            Start::kMpi);
  EXPECT_EQ(Read({{"PMIX_RANK", "3"}})->start, Start::kMpi);
  const auto tcp = Read({{"WORLD_SIZE", "4"},
                         {"RANK", "3"},
                         {"LOCAL_RANK", "1"},
                         {"MASTER_ADDR", "node0"},
                         {"MASTER_PORT", "29500"}});
  ASSERT_TRUE(tcp.ok()) << tcp.status();
  EXPECT_EQ(tcp->start, Start::kTcp);
  EXPECT_EQ(tcp->rank, 3);
  EXPECT_EQ(tcp->size, 4);
  EXPECT_EQ(tcp->local_rank, 1);
  EXPECT_EQ(tcp->master_address, "node0");
  EXPECT_EQ(tcp->master_port, 29500);
}

TEST(RankEnvironment, NamesWhatIsMissingOrWrong) {
  const auto message = [](const std::map<std::string, std::string>& variables) {
    return std::string(Read(variables).status().message());
  };
  EXPECT_NE(message({{"WORLD_SIZE", "2"}}).find("RANK is not set"), std::string::npos);
  EXPECT_NE(message({{"RANK", "1"}}).find("WORLD_SIZE is not set"), std::string::npos);
  EXPECT_NE(
      message({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}).find("srun started 2 tasks"),
      std::string::npos);
  EXPECT_NE(message({{"WORLD_SIZE", "2"}, {"RANK", "0"}}).find("MASTER_ADDR is not set"),
            std::string::npos);
  EXPECT_NE(message({{"WORLD_SIZE", "2"}, {"RANK", "0"}, {"MASTER_ADDR", "x"}})
                .find("MASTER_PORT is not set"),
            std::string::npos);
  EXPECT_NE(message({{"WORLD_SIZE", "2"}, {"RANK", "2"}})
                .find("RANK: expected a number from 0 to 1, got '2'"),
            std::string::npos);
  EXPECT_NE(message({{"WORLD_SIZE", "two"}}).find("WORLD_SIZE: expected a number"),
            std::string::npos);
}

// The environment of a rank that a platform starts, with one more variable.
absl::StatusOr<RankEnvironment> ReadTcp(const std::string& name, const std::string& value) {
  std::map<std::string, std::string> variables = {
      {"WORLD_SIZE", "4"}, {"RANK", "3"}, {"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}};
  variables[name] = value;
  return Read(variables);
}

TEST(RankEnvironment, HowRanksMeet) {
  EXPECT_EQ(ReadTcp("WYVERN_RUN_TOKEN", "0123456789abcdef")->token, "0123456789abcdef");
  EXPECT_EQ(ReadTcp("WYVERN_RENDEZVOUS_TIMEOUT", "2.5")->rendezvous_timeout, 2.5);
  EXPECT_EQ(ReadTcp("RANK", "1")->rendezvous_timeout, std::nullopt);
  const auto mpi = Read({{"OMPI_COMM_WORLD_SIZE", "4"}, {"WYVERN_RENDEZVOUS_TIMEOUT", "9"}});
  EXPECT_EQ(mpi->rendezvous_timeout, 9);
  const auto message = [](const std::string& name, const std::string& value) {
    return std::string(ReadTcp(name, value).status().message());
  };
  EXPECT_EQ(message("WYVERN_RUN_TOKEN", "secret").find("WYVERN_RUN_TOKEN: expected 16 bytes"), 0u);
  EXPECT_EQ(message("WYVERN_RUN_TOKEN", "secretsecret").find("secretsecret"), std::string::npos);
  for (const char* seconds : {"soon", "0", "-1", "nan", "1e99"}) {
    EXPECT_NE(message("WYVERN_RENDEZVOUS_TIMEOUT", seconds).find("more than 0 seconds"),
              std::string::npos)
        << seconds;
  }
}

TEST(RankEnvironment, AnAddressThatCanNeverWorkIsAnError) {
  for (const char* good : {"node0", "node-0.rack_1", "10.0.0.1", "::1", "[::1]", "fe80::1%lo"}) {
    EXPECT_TRUE(ReadTcp("MASTER_ADDR", good).ok()) << good;
  }
  for (const char* bad : {"node0:29500", "tcp://node0", "10.0.0.256", "node 0", "::g"}) {
    const absl::Status status = ReadTcp("MASTER_ADDR", bad).status();
    EXPECT_NE(std::string(status.message()).find("MASTER_ADDR: expected a host name"),
              std::string::npos)
        << bad << ": " << status;
  }
  for (const char* bad : {"224.0.0.1", "255.255.255.255", "ff02::1", "fe80::1"}) {
    EXPECT_NE(std::string(ReadTcp("MASTER_ADDR", bad).status().message()).find(bad),
              std::string::npos)
        << bad;
  }
  // Every host is its own localhost; on rank 0's a platform may say so.
  const auto local = [](const std::string& rank, const std::string& local_rank) {
    return Read({{"WORLD_SIZE", "4"},
                 {"RANK", rank},
                 {"LOCAL_RANK", local_rank},
                 {"LOCAL_WORLD_SIZE", "2"},
                 {"MASTER_ADDR", "localhost"},
                 {"MASTER_PORT", "29500"}});
  };
  EXPECT_TRUE(local("0", "0")->several_hosts);
  EXPECT_TRUE(local("1", "1").ok());
  EXPECT_NE(std::string(local("2", "0").status().message())
                .find("MASTER_ADDR is localhost, which every host takes for itself"),
            std::string::npos);
  EXPECT_FALSE(ReadTcp("LOCAL_WORLD_SIZE", "4")->several_hosts);
}

}  // namespace
}  // namespace wyvern
