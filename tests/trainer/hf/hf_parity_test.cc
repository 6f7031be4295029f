#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "data/io/file.h"
#include "nlohmann/json.hpp"
#include "tests/support/golden.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/hf/parity.h"

namespace wyvern {
namespace {

std::string Folder(const std::string& name) {
  const std::string golden = GoldenFolder();
  const std::string folder = golden + "/hf/" + name;
  return !golden.empty() && std::filesystem::is_directory(folder) ? folder : "";
}

void ExpectParity(const std::string& folder, DType dtype = DType::kFloat32) {
  const auto report = RunParity(folder, Device::kCpu, dtype, ParityLimits());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->warnings.empty()) << report->warnings.front();
  for (const ParityRow& row : report->rows) {
    EXPECT_TRUE(row.passed()) << row.quantity << ": " << row.error << " > " << row.limit;
  }
  EXPECT_GT(report->rows.size(), 30u);
}

class HfParity : public testing::TestWithParam<const char*> {};

TEST_P(HfParity, HoldsInFp32) {
  const std::string folder = Folder(GetParam());
  if (folder.empty()) GTEST_SKIP() << "no golden folder hf/" << GetParam();
  ExpectParity(folder);
}

std::string Identifier(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Golden, HfParity,
                         testing::Values("fla-delta_net", "fla-delta_net-gate-neg-eigval",
                                         "fla-delta_net-swa", "fla-gated_deltanet", "fla-gla",
                                         "fla-gla-conv", "fla-kda", "fla-transformer", "hf-llama",
                                         "hf-kimi_linear", "hf-mamba2", "hf-olmo_hybrid",
                                         "hf-qwen3_5", "hf-qwen3_next"),
                         [](const auto& info) { return Identifier(info.param); });

// Configurations that the golden folders lack; reference/make.py computed them with equations
// of its own.
class HfParityOfOtherConfigurations : public testing::TestWithParam<const char*> {};

TEST_P(HfParityOfOtherConfigurations, HoldsInFp32) {
  ExpectParity(std::string("tests/trainer/hf/reference/") + GetParam());
}

// Rounded to nearest, within what sixteen draws of random rounding allow.
TEST_P(HfParityOfOtherConfigurations, HoldsInEmulatedBf16) {
  ExpectParity(std::string("tests/trainer/hf/reference/") + GetParam(), DType::kBf16);
}

INSTANTIATE_TEST_SUITE_P(
    Reference, HfParityOfOtherConfigurations,
    testing::Values("bailing_hybrid-dense", "bailing_hybrid-groups", "delta_net-expanded",
                    "delta_net-global", "gated_deltanet-gva", "gated_deltanet-hybrid", "gla-clamp",
                    "gla-no-gate", "kda-neg-eigval", "kda-safe-gate", "kimi_linear-gates",
                    "kimi_linear-groups", "kimi_linear-published", "kimi_linear-softmax",
                    "llama-biases", "mamba2-groups", "mamba2-limits", "mistral-window",
                    "olmo_hybrid-nope", "qwen3-window", "qwen3_5-tied", "qwen3_next-dense-first",
                    "transformer-qk-norm"),
    [](const auto& info) { return Identifier(info.param); });

// Parity must see what it is for: the same weights under slightly other mathematics.
TEST(HfParity, FailsWhenTheMathematicsDiffers) {
  const std::string source = Folder("fla-delta_net-swa");
  if (source.empty()) GTEST_SKIP() << "no golden folder hf/fla-delta_net-swa";
  const auto text = ReadFile(source + "/config.json");
  ASSERT_TRUE(text.ok());
  const auto failures = [&](const std::string& pointer, const nlohmann::json& value) {
    const TemporaryFolder folder;
    for (const char* name : {"model.safetensors", "reference.safetensors"}) {
      std::filesystem::copy_file(source + "/" + name, folder / name);
    }
    nlohmann::json config = nlohmann::json::parse(*text);
    config[nlohmann::json::json_pointer(pointer)] = value;
    EXPECT_TRUE(WriteFileAtomically(folder / "config.json", config.dump()).ok());
    ParityLimits limits;
    limits.step_loss = limits.step_norm = 1e-5;  // no need of the drift
    const auto report = RunParity(folder / ".", Device::kCpu, DType::kFloat32, limits);
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->rows[0].passed()) << pointer << " does not change the logits";
    EXPECT_FALSE(report->passed());
  };
  failures("/norm_eps", 2e-6);
  failures("/attn/window_size", 33);
  failures("/attn/rope_theta", 10100.0);
  failures("/allow_neg_eigval", true);
}

// The limits of bf16 are drawn from the model under test, wrong or not, and must not excuse it.
TEST(HfParity, FailsInBf16WhenTheMathematicsDiffers) {
  const auto failures = [](const std::string& name, const std::string& key,
                           const nlohmann::json& value) {
    const std::string source = "tests/trainer/hf/reference/" + name;
    const auto text = ReadFile(source + "/config.json");
    ASSERT_TRUE(text.ok()) << text.status();
    const TemporaryFolder folder;
    for (const char* file : {"model.safetensors", "reference.safetensors"}) {
      std::filesystem::copy_file(source + "/" + file, folder / file);
    }
    nlohmann::json config = nlohmann::json::parse(*text);
    config[nlohmann::json::json_pointer(key)] = value;
    EXPECT_TRUE(WriteFileAtomically(folder / "config.json", config.dump()).ok());
    const auto report = RunParity(folder / ".", Device::kCpu, DType::kBf16, ParityLimits());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->rows[0].passed())
        << name << key << ": logits are off by " << report->rows[0].error << ", the limit is "
        << report->rows[0].limit;
  };
  failures("delta_net-global", "/allow_neg_eigval", true);
  failures("gated_deltanet-gva", "/allow_neg_eigval", false);
  failures("kda-neg-eigval", "/allow_neg_eigval", false);
  failures("llama-biases", "/rope_theta", 500.0);
  failures("transformer-qk-norm", "/window_size", 4);
}

TEST(HfParity, AReferenceThatDoesNotFitIsAnError) {
  const std::string source = Folder("hf-llama"), other = Folder("fla-kda");
  if (source.empty() || other.empty()) GTEST_SKIP() << "no golden folders";
  const TemporaryFolder folder;
  for (const char* name : {"model.safetensors", "config.json"}) {
    std::filesystem::copy_file(source + "/" + name, folder / name);
  }
  const auto run = [&] {
    return RunParity(folder / ".", Device::kCpu, DType::kFloat32, ParityLimits()).status();
  };
  EXPECT_TRUE(absl::StrContains(run().message(), "reference.safetensors")) << run();
  std::filesystem::copy_file(other + "/reference.safetensors", folder / "reference.safetensors");
  EXPECT_TRUE(absl::StrContains(run().message(), "gradients")) << run();
}

}  // namespace
}  // namespace wyvern
