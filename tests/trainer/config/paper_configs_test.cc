// The shipped recipes read without error and have the papers' parameter counts.
#include <gtest/gtest.h>

#include <filesystem>

#include "layers/model.h"
#include "trainer/config/load.h"
#include "trainer/config/stages.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

RunConfig Load(const std::string& name) {
  const auto config = LoadRunConfig("configs/" + name + ".yaml");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : RunConfig();
}

int64_t Parameters(const std::string& name) { return CountParameters(Load(name).model); }

// Llama style: q, k, v, o; SwiGLU; two norms a block; a final norm; an untied head.
int64_t TransformerParameters(int64_t layers, int64_t d, int64_t ffn) {
  return layers * (4 * d * d + 3 * d * ffn + 2 * d) + 2 * 32000 * d + d;
}

TEST(PaperConfigs, HaveTheirExactParameterCounts) {
  constexpr int64_t kDeltaNet = 1365677056;
  EXPECT_EQ(Parameters("delta_net_340m"), 374362112);
  EXPECT_EQ(Parameters("gla_340m"), 374475776);
  // The joined input and its convolution with biases; steps, decays and skips; output and norms.
  constexpr int64_t kMamba =
      1024 * (2 * 2048 + 2 * 128 + 32) + 5 * (2048 + 2 * 128) + 3 * 32 + 2048 * 1024 + 2048 + 1024;
  EXPECT_EQ(Parameters("mamba2_370m"), 48 * kMamba + 32000 * 1024 + 1024);
  EXPECT_EQ(Parameters("delta_net_1.3b"), kDeltaNet);
  // A DeltaNet mixer has three convolutions, beta's projection and the output norm on top of the
  // four matrices that attention of the same width has.
  constexpr int64_t kMixerExtra = 3 * 4 * 2048 + 16 * 2048 + 128;
  EXPECT_EQ(Parameters("delta_net_1.3b_swa"), kDeltaNet - 12 * kMixerExtra);
  EXPECT_EQ(Parameters("delta_net_1.3b_global"), kDeltaNet - 2 * kMixerExtra);
  // q, k of 12 x 128, v, gate, o of 12 x 256; beta and decay; convolutions; A_log, dt_bias, norm.
  constexpr int64_t kGated =
      2048 * (2 * 1536 + 3 * 3072) + 2 * 12 * 2048 + 4 * (2 * 1536 + 3072) + 2 * 12 + 256;
  EXPECT_EQ(Parameters("gated_deltanet_1.3b"),
            24 * (kGated + 3 * 2048 * 4352 + 2 * 2048) + 2 * 32000 * 2048 + 2048);
  EXPECT_NEAR(static_cast<double>(Parameters("gated_deltanet_1.3b")), 1378.7e6, 0.05e6);
  EXPECT_EQ(Parameters("kda_1.3b"), 1390941568);
  EXPECT_EQ(Parameters("transformer_340m"), TransformerParameters(24, 1024, 2816));
  EXPECT_EQ(Parameters("transformer_1.3b"), TransformerParameters(24, 2048, 5632));
}

TEST(PaperConfigs, PlaceAttentionWhereThePaperDoes) {
  const ModelConfig global = Load("delta_net_1.3b_global").model;
  const ModelConfig sliding = Load("delta_net_1.3b_swa").model;
  for (int64_t layer = 1; layer <= 24; ++layer) {
    EXPECT_EQ(global.MixerOfLayer(layer - 1).type().name == "attention", layer == 2 || layer == 13);
    EXPECT_EQ(sliding.MixerOfLayer(layer - 1).type().name == "attention", layer % 2 == 0);
  }
}

TEST(PaperConfigs, HaveTheirStepsAndRates) {
  const RunConfig small = Load("delta_net_340m"), large = Load("delta_net_1.3b");
  EXPECT_EQ(StagesOf(small).back().end_step(), 28611);  // 15e9 / 2^19
  EXPECT_EQ(StagesOf(small)[0].WarmupSteps(), 954);
  EXPECT_EQ(StagesOf(large).back().end_step(), 47684);  // 100e9 / 2^21
  EXPECT_EQ(large.schedule.initial, 3e-5);
  EXPECT_EQ(large.schedule.final, 3e-5);
  // Two per weight of a product, and per token and head 6 d^2 + 3 C d + C^2 for the delta rule in
  // chunks of C = 64 (arXiv 2510.26692 eq. 13): 126,976 at d = 128.
  constexpr double kWeights = 24.0 * (4 * 2048 * 2048 + 16 * 2048 + 3 * 2048 * 5632) + 32e3 * 2048;
  const TokenFlops flops = FlopsPerToken(large.model, 2048);
  EXPECT_DOUBLE_EQ(flops.forward, 2 * kWeights + 24 * 16 * 126976.0);
  EXPECT_DOUBLE_EQ(flops.training, 3 * flops.forward);
}

TEST(PaperConfigs, KimiLinearHasItsParametersAndLayers) {
  const RunConfig config = Load("kimi_linear_48b_a3b");
  EXPECT_NEAR(static_cast<double>(CountParameters(config.model)), 49.1e9, 0.05e9);
  EXPECT_NEAR(static_cast<double>(CountActiveParameters(config.model)), 3.5e9, 0.02e9);
  EXPECT_EQ(StagesOf(config).back().end_token() / 10000000000, 140);
  for (int64_t layer = 1; layer <= 27; ++layer) {
    const bool attention = layer % 4 == 0 || layer == 27;
    EXPECT_EQ(config.model.MixerOfLayer(layer - 1).type().name, attention ? "mla" : "kda") << layer;
    EXPECT_EQ(config.model.IsMoe(layer - 1), layer > 1) << layer;
  }
  const ModelConfig proxy = Load("kimi_linear_proxy_1b").model;
  EXPECT_NEAR(static_cast<double>(CountParameters(proxy)), 1.01e9, 0.01e9);
  EXPECT_NEAR(static_cast<double>(CountActiveParameters(proxy)), 0.39e9, 0.01e9);
}

TEST(PaperConfigs, EveryShippedConfigurationIsValidAndReadsBack) {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++count;
    const auto config = LoadRunConfig(entry.path().string());
    ASSERT_TRUE(config.ok()) << config.status();
    const auto again = ParseRunConfig(ToYaml(*config), "resolved");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(*again == *config) << entry.path();
  }
  EXPECT_GE(count, 9);
}

}  // namespace
}  // namespace wyvern
