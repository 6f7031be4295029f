// Checkpoints that the ranks write together: read on another mesh, and a rank that cannot write.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/ranks/ranks.h"
#include "tests/support/file_size_limit.h"
#include "tests/trainer/state_checks.h"
#include "trainer/checkpoint/saver.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

class CheckpointRanks : public testing::Test {
 protected:
  CheckpointRanks() {
    std::string name = (fs::temp_directory_path() / "wyvern_ranks_XXXXXX").string();
    if (TheWorld().rank() == 0) {
      EXPECT_NE(mkdtemp(name.data()), nullptr);
    }
    run_ = GatherTexts(TheWorld().host(), name).front();
  }
  ~CheckpointRanks() override {
    TheWorld().host().Barrier();
    if (TheWorld().rank() == 0) fs::remove_all(run_);
  }

  static std::vector<std::pair<MeshShape, int>> Meshes() {
    const int64_t n = TheWorld().size();
    std::vector<std::pair<MeshShape, int>> meshes = {
        {{1, n}, 3}, {{n, 1}, 1}, {{1, n}, 1}, {{1, 1, n}, 1}, {{1, n}, 2}};
    if (n == 4) meshes.push_back({{2, 2}, 3});
    if (n == 4) meshes.push_back({{1, 2, 2}, 3});
    return meshes;
  }

  void PassOn(const std::vector<std::pair<MeshShape, int>>& meshes, const ModelConfig& config);

  absl::Status Save(const RankState& state, CheckpointSaver* saver, int64_t step) {
    const absl::Status started =
        saver->Start({.step = step, .parts = PartsToWrite(*state.optimizer, state.mesh.get())});
    return started.ok() ? saver->Wait()->status : started;
  }

  // Names in the checkpoints folder, hidden ones too.
  std::vector<std::string> Folders() const {
    TheWorld().host().Barrier();
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(run_ + "/checkpoints")) {
      names.push_back(entry.path().filename().string());
    }
    TheWorld().host().Barrier();
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string run_;
};

// Each mesh in turn reads what the one before it wrote, and writes it again; then one process.
void CheckpointRanks::PassOn(const std::vector<std::pair<MeshShape, int>>& meshes,
                             const ModelConfig& config) {
  int64_t step = 0;
  for (const auto& [shape, stage] : meshes) {
    const RankState state(&TheWorld(), shape, stage, config);
    if (step == 0) {
      FillState(*state.optimizer);
    } else {
      const auto before = OpenCheckpoint(run_);
      ASSERT_TRUE(before.ok()) << before.status();
      EXPECT_EQ(before->step, step);
      const absl::Status read = ReadState(*before, *state.optimizer);
      ASSERT_TRUE(read.ok()) << read;
    }
    ExpectState(*state.optimizer);
    CheckpointSaver saver(run_, 1, &TheWorld(), Device::kCpu);
    const absl::Status saved = Save(state, &saver, ++step);
    ASSERT_TRUE(saved.ok()) << saved;
  }
  const auto model = Model::Create(config, Device::kCpu, DType::kFloat32);
  const Optimizer optimizer(model.get(), {});
  const absl::Status checked = CheckModel(*OpenCheckpoint(run_), {.model = model.get()});
  EXPECT_TRUE(absl::IsFailedPrecondition(checked)) << checked;  // of what model, nobody wrote
  const absl::Status state = ReadState(*OpenCheckpoint(run_), optimizer);
  ASSERT_TRUE(state.ok()) << state;
  ExpectState(optimizer);
}

TEST_F(CheckpointRanks, EveryMeshReadsWhatAnotherWrote) { PassOn(Meshes(), TinyConfig(53)); }

// On the experts' own ranks or sharded as all else, and those sharded over their copies or not.
TEST_F(CheckpointRanks, EveryMeshReadsTheExpertsOfAnother) {
  const int64_t n = TheWorld().size();
  ModelConfig config = TinyConfig(53);
  config.moe = MoeConfig{.num_experts = 12, .experts_per_token = 2, .intermediate_size = 20};
  std::vector<std::pair<MeshShape, int>> meshes = {
      {{1, n, 1, n}, 2}, {{1, n}, 3}, {{n, 1, 1, n}, 1}, {{1, 1, n, n}, 1}};
  if (n == 4) {
    for (const int stage : {1, 2, 3}) {
      meshes.push_back({{1, 4, 1, 2}, stage});
      meshes.push_back({{2, 2, 1, 2}, stage});
    }
    meshes.insert(meshes.end(), {{{4, 1, 1, 2}, 1}, {{1, 2, 2, 2}, 2}, {{2, 2, 1, 4}, 3}});
  }
  PassOn(meshes, config);
}

TEST_F(CheckpointRanks, ARankThatCannotWriteFailsTheCheckpointOnAll) {
  const int64_t n = TheWorld().size();
  const RankState state(&TheWorld(), {1, n}, 3);
  FillState(*state.optimizer);
  CheckpointSaver saver(run_, 1, &TheWorld(), Device::kCpu);
  ASSERT_TRUE(Save(state, &saver, 1).ok());
  for (const rlim_t bytes : {0, 100, 5000}) {
    absl::Status status;
    {
      const FileSizeLimit limit(TheWorld().rank() == n - 1 ? bytes : RLIM_INFINITY);
      status = Save(state, &saver, 2);
    }
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(absl::StrContains(status.message(), "step_00000002 was not written")) << status;
    if (n > 1) {
      EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("rank ", n - 1, ": ")))
          << status;
    }
    EXPECT_EQ(Folders(), std::vector<std::string>{"step_00000001"});
    EXPECT_TRUE(VerifyCheckpoint(run_).ok());
  }
  const absl::Status after = Save(state, &saver, 2);
  EXPECT_TRUE(after.ok()) << after;
  EXPECT_EQ(Folders(), std::vector<std::string>{"step_00000002"});
}

}  // namespace
}  // namespace wyvern
