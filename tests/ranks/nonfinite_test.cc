// train.nonfinite of whole runs on several ranks, one of which computes what is not a number.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "tests/ranks/ranks.h"
#include "trainer/config/load.h"
#include "trainer/loop/train_loop.h"

namespace wyvern {
namespace {

class NonFiniteRun : public testing::Test {
 protected:
  void SetUp() override {
    if (TheWorld().size() == 1) GTEST_SKIP() << "one rank";
    std::string name;
    if (TheWorld().rank() == 0) {
      name = (std::filesystem::temp_directory_path() / "wyvern_nonfinite_XXXXXX").string();
      ASSERT_NE(mkdtemp(name.data()), nullptr);
      std::ofstream text(name + "/text");
      for (int i = 0; i < 40; ++i) text << "delta rules erase, then write, " << i << "\n\n";
    }
    folder_ = GatherTexts(TheWorld().host(), name).front();
  }
  void TearDown() override {
    if (TheWorld().size() == 1) return;
    TheWorld().host().Barrier();
    if (TheWorld().rank() == 0) std::filesystem::remove_all(folder_);
  }

  // Trains with a gain of the final norm that is not a number on the last rank alone.
  absl::Status Train(const std::string& policy) {
    const auto config = ParseRunConfig(
        absl::StrCat("run: {name: ", policy, ", device: cpu, dir: ", folder_, "/", policy, R"(}
model:
  vocab_size: 258
  hidden_size: 16
  num_layers: 1
  intermediate_size: 16
  mixers: {delta: {type: delta_net, num_heads: 2, key_dim: 8, value_dim: 8}}
  pattern: [delta]
tokenizer: {type: byte}
data:
  sources: [{dir: )",
                     folder_, "/store, text: [", folder_, R"(/text], document_separator: "\n\n"}]
  seq_len: 16
train: {steps: 60, batch_tokens: 64, micro_batch: 1, nonfinite: )",
                     policy, R"(}
schedule: {type: constant, peak: 1e-3}
validation: {every: 0}
checkpoint: {every: 0}
)"),
        "test");
    RETURN_IF_ERROR(config.status());
    ASSIGN_OR_RETURN(const RunPlan plan, ResolveRunOnRanks(*config, &TheWorld()));
    ASSIGN_OR_RETURN(run_, TrainingRun::Open(plan, "none", &TheWorld()));
    if (TheWorld().rank() == TheWorld().size() - 1) {
      for (const Parameter* p : run_->model()->parameters()) {
        if (p->name != "final_norm.weight") continue;
        p->value.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
      }
    }
    testing::internal::CaptureStdout();
    const absl::Status status = run_->Run();
    out_ = testing::internal::GetCapturedStdout();
    return status;
  }

  std::string LossOfRank() const {
    return absl::StrCat("the loss (nan) of rank ", TheWorld().size() - 1, " is not finite");
  }

  std::string folder_, out_;
  std::unique_ptr<TrainingRun> run_;
};

TEST_F(NonFiniteRun, StopStopsAllRanksAtThatStep) {
  const absl::Status status = Train("stop");
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "step 1: " + LossOfRank())) << status;
  ASSERT_NE(run_, nullptr);
  EXPECT_EQ(run_->counters().step, 0);
  // The same on all.
  for (const std::string& text : GatherTexts(TheWorld().host(), std::string(status.message()))) {
    EXPECT_EQ(text, status.message());
  }
}

TEST_F(NonFiniteRun, SkipSkipsOnAllRanksUntilThereIsNoHope) {
  const absl::Status status = Train("skip");
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), LossOfRank() + ", like the 50 steps before it"))
      << status;
  ASSERT_NE(run_, nullptr);
  EXPECT_EQ(run_->counters().step, 50);
  EXPECT_EQ(run_->counters().updates, 0);
  EXPECT_EQ(run_->counters().skipped_in_a_row, 51);
  EXPECT_EQ(absl::StrContains(out_, "step 7: " + LossOfRank() + "; this update is skipped"),
            TheWorld().rank() == 0)
      << out_;
}

}  // namespace
}  // namespace wyvern
