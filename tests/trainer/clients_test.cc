// tests/clients/: h5py and TensorBoard read what Wyvern writes.
#include <cstdlib>

#include "absl/strings/match.h"
#include "tests/support/on_ranks.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/state_checks.h"
#include "trainer/checkpoint/saver.h"
#include "trainer/report/tensorboard.h"

namespace wyvern {
namespace {

class ClientsTest : public CheckpointTest {
 protected:
  // Whether the script's packages are there.
  static bool Have(const std::string& package) {
    return std::system(absl::StrCat(Python(), " -c 'import ", package, "' 2>/dev/null").c_str()) ==
           0;
  }
  // Runs a script of tests/clients; its output, or nullopt if it failed.
  std::optional<std::string> RunScript(const std::string& arguments) const {
    return Execute(absl::StrCat(Python(), " tests/clients/", arguments));
  }
  std::optional<std::string> RunPython(const std::string& code) const {
    return Execute(absl::StrCat(Python(), " -c \"", code, "\""));
  }

 private:
  std::optional<std::string> Execute(const std::string& program) const {
    const std::string out = Path("script.out");
    const std::string command = absl::StrCat(program, " > ", out, " 2>&1");
    const bool ok = std::system(command.c_str()) == 0;
    const std::string text = *ReadFile(out);
    if (!ok) return std::nullopt;
    return text;
  }

  static std::string Python() {
    const char* chosen = std::getenv("WYVERN_PYTHON");
    return chosen == nullptr ? "python3" : chosen;
  }
};

TEST_F(ClientsTest, H5pyReadsACheckpoint) {
  if (!Have("h5py")) GTEST_SKIP() << "python3 has no h5py";
  std::vector<NamedTensor> tensors = SomeTensors();
  tensors.push_back({"sum", Tensor::FromVector<float>({1.5f, 2.25f, -0.5f}, {3})});
  tensors.push_back({"sum_bf16", Tensor::FromVector<float>({8, 0.125f}, {2}).To(DType::kBf16)});
  ASSERT_TRUE(WriteCheckpoint(Run(), 5, tensors, {}, 0, {.max_shard_bytes = 48}).ok());
  const auto text = RunScript("read_checkpoint.py " + Step(5));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "sum sum 3.25")) << *text;
  EXPECT_TRUE(absl::StrContains(*text, "sum_bf16 sum 8.125")) << *text;
  EXPECT_TRUE(absl::StrContains(*text, "OK: step 5, 10 tensors")) << *text;
}

TEST_F(ClientsTest, H5pyReadsWhatSeveralRanksWrote) {
  if (!Have("h5py")) GTEST_SKIP() << "python3 has no h5py";
  const std::vector<int64_t> cuts = {0, 31, 62, 105};  // in the middle of rows
  OnRanks(3, [&](World* world) {
    const int64_t begin = cuts[static_cast<size_t>(world->rank())];
    const int64_t end = cuts[static_cast<size_t>(world->rank()) + 1];
    std::vector<float> values;
    for (int64_t i = begin; i < end; ++i) values.push_back(static_cast<float>(i));
    CheckpointSaver saver(Run(), 0, world, Device::kCpu);
    const absl::Status started =
        saver.Start({.step = 5,
                     .parts = {{{"x", {5, 7, 3}, DType::kFloat32},
                                begin,
                                Tensor::FromVector(values, {end - begin})}}});
    ASSERT_TRUE(started.ok()) << started;
    const auto saved = saver.Wait();
    ASSERT_TRUE(saved.has_value());
    EXPECT_TRUE(saved->status.ok()) << saved->status;
  });
  const auto text = RunScript("read_checkpoint.py " + Step(5));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "x sum 5460")) << *text;
  // And puts the blocks where they belong.
  const auto order = RunPython(
      absl::StrCat("import sys; sys.path.insert(0, 'tests/clients'); import read_checkpoint; "
                   "print(read_checkpoint.load('",
                   Step(5), "')[1]['x'].ravel().tolist() == list(range(105)))"));
  ASSERT_TRUE(order.has_value());
  EXPECT_EQ(*order, "True\n");
}

TEST_F(ClientsTest, H5pyReadsATokenStore) {
  if (!Have("h5py")) GTEST_SKIP() << "python3 has no h5py";
  const std::string store = WriteStore("s.h5", {{5, 6, 7, 257}, {}, {8, 257}});
  const auto text = RunScript(absl::StrCat("read_token_store.py ", store, " 0"));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "5 6 7 257\n")) << *text;
  EXPECT_TRUE(absl::StrContains(*text, "OK: 6 tokens, 3 documents of 1 files")) << *text;
}

// Two processes' files; the second one resumed at step 3.
TEST_F(ClientsTest, TensorBoardReadsTheEvents) {
  if (!Have("tensorboard")) GTEST_SKIP() << "python3 has no tensorboard";
  const std::string folder = Path("tensorboard");
  std::string metrics;
  for (const int64_t first : {1, 3}) {
    auto writer = TensorBoardWriter::Create(folder, first == 1 ? 0 : first);
    ASSERT_TRUE(writer.ok());
    for (int64_t step = first; step < first + 4; ++step) {
      const double loss = 10.0 * static_cast<double>(first) + static_cast<double>(step);
      ASSERT_TRUE((*writer)->AddScalars(step, {{"train/loss", loss}, {"train/lr", 3e-4}}).ok());
      if (first == 3 || step < 3) {
        absl::StrAppend(&metrics, "{\"step\": ", step, ", \"loss\": ", loss, "}\n");
      }
    }
  }
  const std::string path = WriteText("metrics.jsonl", metrics);
  const auto text = RunScript(absl::StrCat("read_events.py ", folder, " ", path));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(absl::StrContains(*text, "OK: 6 losses of train/loss")) << *text;
}

}  // namespace
}  // namespace wyvern
