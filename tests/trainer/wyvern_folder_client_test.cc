// tests/clients/: transformers runs the folders of the family wyvern by their modeling_wyvern.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "tests/support/client_python.h"
#include "tests/trainer/hf/wyvern_models.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/parity.h"
#include "trainer/hf/save_folder.h"
#include "trainer/inference/generate.h"

namespace wyvern {
namespace {

class WyvernFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (Lacks("transformers, torch").empty()) return;
    GTEST_SKIP()
        << "transformers and PyTorch are not there; scripts/test --transformers brings them";
  }

  // A folder for each model, under its name.
  std::string Export(const std::vector<std::pair<std::string, ModelConfig>>& models) const {
    std::string folders;
    for (const auto& [name, config] : models) {
      const absl::Status saved = SaveHfFolder(MakeUnevenModel(config).get(), folder_ / name,
                                              {.config = {.family = FindHfFamily("wyvern")}});
      EXPECT_TRUE(saved.ok()) << name << ": " << saved;
      absl::StrAppend(&folders, " ", folder_ / name);
    }
    return folders;
  }

  // Returns what the script prints; empty, with a failure, if it ends with an error.
  std::string RunScript(const std::string& arguments) const {
    // The code of a folder is copied into a cache before it runs. More threads would cost such
    // small models more than they save.
    const std::string command = absl::StrCat(
        "OMP_NUM_THREADS=1 HF_MODULES_CACHE=", folder_ / "modules", " ", ClientPython(),
        " tests/clients/", arguments, " > ", folder_ / "out", " 2> ", folder_ / "err");
    if (std::system(command.c_str()) == 0) return *ReadFile(folder_ / "out");
    ADD_FAILURE() << *ReadFile(folder_ / "err") << *ReadFile(folder_ / "out");
    return "";
  }

  const TemporaryFolder folder_;
};

// Logits, loss, every gradient and six steps of AdamW.
TEST_F(WyvernFolderTest, EveryModelTrainsAlike) {
  const auto models = WyvernTestModels();
  const std::string folders = Export(models);
  ASSERT_NE(RunScript("write_hf_reference.py --tokens 70 --batch 1" + folders), "");
  for (const auto& [name, config] : models) {
    const auto report = RunParity(folder_ / name, Device::kCpu, DType::kFloat32, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_GT(report->rows.size(), 20u);
    for (const ParityRow& row : report->rows) {
      EXPECT_TRUE(row.passed()) << name << ": " << row.quantity << ": " << row.error << ", at most "
                                << row.limit;
    }
  }
}

TEST_F(WyvernFolderTest, GreedyTextIsTheSame) {
  std::vector<std::pair<std::string, ModelConfig>> models;
  for (const char* name :
       {"quickstart", "everything", "lone_experts", "delta_net_plain", "mamba2_groups"}) {
    models.emplace_back(name, WyvernTestModelNamed(name));
  }
  const std::string folders = Export(models);
  std::vector<std::vector<int32_t>> prompts(3);
  const size_t lengths[] = {70, 1, 9};
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (size_t i = 0; i < lengths[p]; ++i) {
      prompts[p].push_back(static_cast<int32_t>((5 * p + 7 * i + i * i) % 29));
    }
  }
  const std::string path = folder_ / "prompts.json";
  ASSERT_TRUE(WriteFileAtomically(path, JsonText(prompts)).ok());
  const std::string out = RunScript(absl::StrCat("generate_hf.py ", path, folders));
  const std::vector<std::string> lines = absl::StrSplit(out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), models.size());
  for (size_t m = 0; m < models.size(); ++m) {
    const auto loaded =
        LoadHfFolder(folder_ / models[m].first, Device::kCpu, DType::kFloat32, false);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const auto theirs = ParseJson(lines[m], "the script's output");
    ASSERT_TRUE(theirs.ok()) << theirs.status();
    for (size_t p = 0; p < prompts.size(); ++p) {
      const auto ours = Generate(loaded->model.get(), prompts[p],
                                 {.sampling = {.temperature = 0}, .max_tokens = 24});
      ASSERT_TRUE(ours.ok()) << ours.status();
      EXPECT_EQ(*ours, (*theirs)[p].get<std::vector<int32_t>>()) << models[m].first << ", " << p;
    }
  }
}

}  // namespace
}  // namespace wyvern
