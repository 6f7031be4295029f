// tests/clients/: h5py and TensorBoard read what Wyvern writes.
#include <cstdlib>

#include "absl/strings/match.h"
#include "tests/trainer/checkpoint_fixture.h"
#include "trainer/tensorboard.h"

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
    const std::string out = Path("script.out");
    const std::string command =
        absl::StrCat(Python(), " tests/clients/", arguments, " > ", out, " 2>&1");
    const bool ok = std::system(command.c_str()) == 0;
    const std::string text = *ReadFile(out);
    if (!ok) return std::nullopt;
    return text;
  }

 private:
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
