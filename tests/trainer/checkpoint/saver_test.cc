// Checkpoints by several ranks, in the background: threads of this process act as ranks.
#include "trainer/checkpoint/saver.h"

#include "absl/strings/match.h"
#include "tests/support/on_ranks.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/state_checks.h"

namespace wyvern {
namespace {

using Strings = std::set<std::string>;

class CheckpointSaverTest : public CheckpointTest {
 protected:
  // One tensor of which each rank has a part.
  static CheckpointContents Numbers(const World& world, int64_t step, const Tensor& values) {
    const CheckpointTensor tensor = {"numbers", {world.size() * 100}, DType::kFloat32};
    return {.step = step, .parts = {{tensor, world.rank() * 100, values}}, .meta = {{"a", 1}}};
  }
  static Tensor Hundred(const World& world) {
    std::vector<float> values;
    for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>(world.rank() * 100 + i));
    return Tensor::FromVector(values, {100});
  }
};

struct MeshCase {
  MeshShape shape;
  int stage;
};

TEST_F(CheckpointSaverTest, WhatOneMeshWritesEveryOtherReads) {
  const std::vector<MeshCase> meshes = {{{1, 4}, 3},    {{1, 2}, 3},    {{2, 1}, 1},
                                        {{1, 1, 2}, 1}, {{1, 1}, 1},    {{2, 2}, 2},
                                        {{1, 3}, 1},    {{1, 2, 2}, 3}, {{4, 1}, 1}};
  for (size_t i = 0; i < meshes.size(); ++i) {
    const auto step = static_cast<int64_t>(i + 1);
    OnRanks(static_cast<int>(meshes[i].shape.num_ranks()), [&](World* world) {
      const RankState state(world, meshes[i].shape, meshes[i].stage);
      if (i == 0) {
        FillState(*state.optimizer);
      } else {
        const auto before = OpenCheckpoint(Step(step - 1));
        ASSERT_TRUE(before.ok()) << before.status();
        const absl::Status read = ReadState(*before, *state.optimizer);
        ASSERT_TRUE(read.ok()) << read;
      }
      ExpectState(*state.optimizer);
      CheckpointSaver saver(Run(), 0, world, Device::kCpu);
      const absl::Status started =
          saver.Start({.step = step, .parts = PartsToWrite(*state.optimizer, state.mesh.get())});
      ASSERT_TRUE(started.ok()) << started;
      const auto saved = saver.Wait();
      ASSERT_TRUE(saved.has_value());
      EXPECT_TRUE(saved->status.ok()) << saved->status;
    });
    EXPECT_TRUE(VerifyCheckpoint(Step(step)).ok());
  }
  // Every element is there once: the manifest's own condition, and no byte more.
  const auto first = OpenCheckpoint(Step(1)), last = OpenCheckpoint(Step(9));
  int64_t num_bytes = 0;
  for (const CheckpointTensor& t : first->tensors) num_bytes += NumElements(t.shape) * 4;
  EXPECT_LT(last->num_bytes, 2 * num_bytes);  // and HDF5's own
  ASSERT_EQ(first->tensors.size(), last->tensors.size());
  for (const CheckpointTensor& t : first->tensors) {
    const Tensor a = Tensor::Empty(t.shape, t.dtype, Device::kCpu), b = Tensor::EmptyLike(a);
    ASSERT_TRUE(ReadCheckpoint(Step(1), {{t.name, a}}).ok());
    ASSERT_TRUE(ReadCheckpoint(Step(9), {{t.name, b}}).ok());
    EXPECT_TRUE(SameBytes(a, b)) << t.name;
  }
}

TEST_F(CheckpointSaverTest, EachElementHasOneCopyThatWritesIt) {
  for (const int64_t size : {1, 128, 1000, 4096}) {
    for (const int64_t replicas : {1, 2, 3, 8}) {
      for (const int64_t turn : {0, 1, 5}) {
        std::vector<int> written(static_cast<size_t>(size));
        int64_t most = 0;
        for (int64_t replica = 0; replica < replicas; ++replica) {
          const auto [begin, end] = ShareOfReplica(size, replicas, replica, turn, 128);
          most = std::max(most, end - begin);
          for (int64_t i = begin; i < end; ++i) ++written[static_cast<size_t>(i)];
        }
        EXPECT_EQ(written, std::vector<int>(static_cast<size_t>(size), 1));
        if (size >= 128 * replicas) {
          EXPECT_LE(most, size / replicas + 1);
        }
      }
    }
  }
  // Small shards go to each in turn.
  EXPECT_EQ(ShareOfReplica(100, 4, 2, 6, 128).second, 100);
  EXPECT_EQ(ShareOfReplica(100, 4, 2, 7, 128).second, 0);
}

TEST_F(CheckpointSaverTest, WhatChangesAfterTheStartIsNotSeen) {
  OnRanks(2, [&](World* world) {
    CheckpointSaver saver(Run(), 0, world, Device::kCpu);
    for (const int64_t step : {1, 2}) {
      const Tensor values = Hundred(*world);
      ASSERT_TRUE(saver.Start(Numbers(*world, step, values)).ok());
      EXPECT_TRUE(saver.in_flight());
      values.FillZero();
      const auto saved = saver.Wait();
      ASSERT_TRUE(saved.has_value() && saved->status.ok());
      EXPECT_EQ(saved->step, step);
      EXPECT_EQ(saved->num_bytes, 800);
      EXPECT_GT(saved->stall_ms, 0);
      EXPECT_GE(saved->seconds, saved->stall_ms * 1e-3);
      EXPECT_FALSE(saver.busy() || saver.Advance(/*any_busy=*/false).has_value());
    }
  });
  std::vector<float> expected;
  for (int i = 0; i < 200; ++i) expected.push_back(static_cast<float>(i));
  for (const int64_t step : {1, 2}) {
    ExpectHolds(Step(step), {{"numbers", Tensor::FromVector(expected, {200})}});
  }
  EXPECT_EQ(OpenCheckpoint(Run())->meta, nlohmann::json({{"a", 1}}));
}

TEST_F(CheckpointSaverTest, NothingAppearsBeforeAllRanksHaveSaidSo) {
  OnRanks(2, [&](World* world) {
    // Every shard is written, and no rank has polled: as where one was killed.
    CheckpointSaver saver(Run(), 0, world, Device::kCpu);
    ASSERT_TRUE(saver.Start(Numbers(*world, 1, Hundred(*world))).ok());
  });
  ASSERT_EQ(Folders().size(), 1u);
  EXPECT_EQ(Folders().begin()->substr(0, 5), ".tmp-");
  EXPECT_TRUE(ListCheckpoints(Run())->empty());
  OnRanks(2, [&](World* world) {
    CheckpointSaver saver(Run(), 1, world, Device::kCpu);
    for (const int64_t step : {2, 3}) {
      ASSERT_TRUE(saver.Start(Numbers(*world, step, Hundred(*world))).ok());
      ASSERT_TRUE(saver.Wait()->status.ok());
    }
  });
  EXPECT_EQ(Folders(), Strings{"step_00000003"});
}

TEST_F(CheckpointSaverTest, AFailureIsTheSameOnAllRanksAndLeavesTheOthers) {
  OnRanks(3, [&](World* world) {
    CheckpointSaver saver(Run(), 1, world, Device::kCpu);
    const auto expect_failure = [&](CheckpointContents contents, absl::StatusCode code,
                                    const std::string& message) {
      absl::Status status = saver.Start(std::move(contents));
      if (status.ok()) status = saver.Wait()->status;
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), message)) << status;
      EXPECT_FALSE(saver.in_flight());
      world->host().Barrier();
      EXPECT_EQ(Folders(), Strings{"step_00000001"});
      world->host().Barrier();
    };
    ASSERT_TRUE(saver.Start(Numbers(*world, 1, Hundred(*world))).ok());
    ASSERT_TRUE(saver.Wait()->status.ok());

    // More than any disk has.
    CheckpointContents large = Numbers(*world, 2, Hundred(*world));
    large.parts.push_back({{"large", {int64_t{1} << 55}, DType::kUint8}, 0, Tensor()});
    expect_failure(large, absl::StatusCode::kResourceExhausted, "free some space");
    // Nobody writes the part that rank 2 leaves out.
    const Tensor values = Hundred(*world);
    expect_failure(Numbers(*world, 2, world->rank() == 2 ? Tensor() : values),
                   absl::StatusCode::kDataLoss, "tensor \"numbers\"");
    // Two ranks write the same.
    CheckpointContents twice = Numbers(*world, 2, values);
    if (world->rank() == 2) twice.parts[0].begin = 100;
    expect_failure(twice, absl::StatusCode::kDataLoss, "rank 0: ");
    CheckpointContents unsynced = Numbers(*world, 2, values);
    unsynced.before_publishing = [] { return absl::UnavailableError("the log is not there"); };
    expect_failure(unsynced, absl::StatusCode::kUnavailable, "rank 0: the log is not there");

    ASSERT_TRUE(saver.Start(Numbers(*world, 2, values)).ok());
    EXPECT_TRUE(saver.Wait()->status.ok());
  });
  EXPECT_EQ(Folders(), Strings{"step_00000002"});
}

// A thread's exception would end the process.
TEST_F(CheckpointSaverTest, AnExceptionOfTheThreadIsAFailedCheckpoint) {
  OnRanks(2, [&](World* world) {
    CheckpointSaver saver(Run(), 1, world, Device::kCpu);
    CheckpointContents contents = Numbers(*world, 1, Hundred(*world));
    contents.before_publishing = []() -> absl::Status { throw std::bad_alloc(); };
    ASSERT_TRUE(saver.Start(std::move(contents)).ok());
    const absl::Status status = saver.Wait()->status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(absl::StrContains(status.message(), "rank 0: out of memory")) << status;
    world->host().Barrier();
    EXPECT_EQ(Folders(), Strings{});
    world->host().Barrier();
    ASSERT_TRUE(saver.Start(Numbers(*world, 2, Hundred(*world))).ok());
    EXPECT_TRUE(saver.Wait()->status.ok());
  });
}

}  // namespace
}  // namespace wyvern
