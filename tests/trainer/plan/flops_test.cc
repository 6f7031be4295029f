// The count of the ops against formulas written by hand.
#include "trainer/plan/flops.h"

#include <gtest/gtest.h>

#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

constexpr double kHidden = 32, kVocab = 50, kMlp = 3 * 32 * 48;

ModelConfig OneLayer(const MixerConfig& mixer) {
  ModelConfig config = TinyConfig(static_cast<int64_t>(kVocab));
  config.mixers = {{"mixer", mixer}};
  config.pattern = {"mixer"};
  config.num_layers = 1;
  return config;
}

// Two operations per weight of a product, and the mixer's own core.
void Expect(const ModelConfig& config, int64_t seq_len, double weights, double core) {
  const TokenFlops flops = FlopsPerToken(config, seq_len);
  const double forward = 2 * (weights + kMlp + kHidden * kVocab) + core;
  EXPECT_NEAR(flops.forward / forward, 1, 1e-12);
  EXPECT_NEAR(flops.training / (3 * forward), 1, 1e-12);
}

TEST(Flops, OfAttentionAreThoseOfVisiblePairs) {
  AttentionMixerConfig attention;
  attention.num_heads = 2;  // of 16
  const double weights = 4 * kHidden * kHidden;
  // A query sees (T + 1) / 2 keys in the mean: two products with each, over the width of the heads.
  Expect(OneLayer(attention), 24, weights, 4 * kHidden * 25 / 2);
  attention.window = 6;
  const double pairs = (6.0 * 7 / 2 + 18 * 6) / 24;
  Expect(OneLayer(attention), 24, weights, 4 * kHidden * pairs);
}

TEST(Flops, OfTheDeltaRuleAreThoseOfItsChunks) {
  DeltaMixerConfig delta;
  delta.num_heads = 2;
  delta.key_dim = delta.value_dim = 16;
  const double weights = 4 * kHidden * 32 + kHidden * 2;  // q, k, v, o; beta
  const double core = 2 * (6 * 16 * 16 + 1.5 * 64 * (16 + 16) + 64 * 64);
  Expect(OneLayer(delta), 128, weights, core);
}

TEST(Flops, OfExpertsAreThoseOfTheChosenOnes) {
  AttentionMixerConfig attention;
  attention.num_heads = 2;
  ModelConfig config = OneLayer(attention);
  const double dense = FlopsPerToken(config, 16).forward;
  config.moe = MoeConfig{.num_experts = 8,
                         .experts_per_token = 2,
                         .intermediate_size = 48,
                         .shared_experts = 0,
                         .first_dense = 0};
  const double sparse = FlopsPerToken(config, 16).forward;
  EXPECT_NEAR(sparse - dense, 2 * (kMlp + kHidden * 8), 1e-6 * dense);  // one more, and the router
}

TEST(Flops, OfTheLongestSequenceNeedNoMemory) {
  const TokenFlops flops = FlopsPerToken(TinyConfig(50), INT32_MAX);
  EXPECT_GT(flops.forward, 0);
  EXPECT_LT(flops.forward, 1e6);
}

}  // namespace
}  // namespace wyvern
