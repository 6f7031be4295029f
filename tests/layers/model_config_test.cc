#include "layers/model_config.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "layers/model.h"

namespace wyvern {
namespace {

ModelConfig Everywhere(MixerConfig mixer) {
  ModelConfig m;
  m.mixers["mixer"] = std::move(mixer);
  m.pattern = {"mixer"};
  return m;
}

// One fault that contains both texts.
void ExpectFault(const ModelConfig& m, const std::string& key, const std::string& what) {
  const std::vector<std::string> faults = m.Validate();
  for (const std::string& fault : faults) {
    if (absl::StrContains(fault, key + ": ") && absl::StrContains(fault, what)) return;
  }
  ADD_FAILURE() << "no fault of " << key << " says '" << what << "':\n"
                << absl::StrJoin(faults, "\n");
}

TEST(ModelConfig, PaperSizesHaveTheirExactParameterCounts) {
  ModelConfig small = Everywhere(DeltaMixerConfig{.num_heads = 8});
  small.hidden_size = 1024;
  EXPECT_EQ(small.IntermediateSize(), 2816);
  EXPECT_EQ(CountParameters(small), 374'362'112);

  const ModelConfig delta_net = Everywhere(DeltaMixerConfig{.num_heads = 16});
  EXPECT_EQ(delta_net.IntermediateSize(), 5632);
  EXPECT_EQ(CountParameters(delta_net), 1'365'677'056);

  ModelConfig gated = Everywhere(DeltaMixerConfig{.decay = DeltaDecay::kPerHead,
                                                  .num_heads = 12,
                                                  .key_dim = 128,
                                                  .value_dim = 256,
                                                  .output_gate = OutputGate::kSilu});
  gated.intermediate_size = 4352;
  EXPECT_NEAR(static_cast<double>(CountParameters(gated)), 1378.7e6, 0.05e6);

  const ModelConfig kda = Everywhere(DeltaMixerConfig{.decay = DeltaDecay::kPerChannel,
                                                      .num_heads = 16,
                                                      .output_gate = OutputGate::kSigmoid,
                                                      .output_gate_rank = 128});
  EXPECT_EQ(CountParameters(kda), 1'390'941'568);
}

// The mixers of Kimi Linear 48B, arXiv 2510.26692.
TEST(ModelConfig, MixersOfKimiLinearHaveTheirExactParameterCounts) {
  const auto mixer = [](MixerConfig config) {
    ModelConfig m = Everywhere(std::move(config));
    m.hidden_size = 2304;
    m.num_layers = 1;
    const int64_t one = CountParameters(m);
    m.num_layers = 2;
    // Two norms and the MLP apart.
    return CountParameters(m) - one - 2 * 2304 - 3 * 2304 * m.IntermediateSize();
  };
  EXPECT_EQ(mixer(MlaMixerConfig()), 29'114'880);
  EXPECT_EQ(mixer(DeltaMixerConfig{.decay = DeltaDecay::kPerChannel,
                                   .num_heads = 32,
                                   .output_gate = OutputGate::kSigmoid,
                                   .output_gate_rank = 128,
                                   .output_gate_bias = false}),
            39'514'272);
}

TEST(ModelConfig, TyingRemovesTheHead) {
  ModelConfig m = Everywhere(AttentionMixerConfig{});
  const int64_t untied = CountParameters(m);
  m.tie_embeddings = true;
  EXPECT_EQ(untied - CountParameters(m), m.vocab_size * m.hidden_size);
}

TEST(ModelConfig, LayoutRepeatsThePatternAndNamesLayers) {
  ModelConfig m;
  m.num_layers = 5;
  m.mixers = {{"a", DeltaMixerConfig{}},
              {"b", AttentionMixerConfig{.window = 8}},
              {"c", AttentionMixerConfig{}}};
  m.pattern = {"a", "b"};
  m.at = {{"c", {2, 5}}};
  ASSERT_TRUE(m.Validate().empty()) << absl::StrJoin(m.Validate(), "\n");
  std::vector<std::string> layers;
  for (int64_t i = 0; i < 5; ++i) {
    for (const auto& [name, mixer] : m.mixers) {
      if (&m.MixerOfLayer(i) == &mixer) layers.push_back(name);
    }
  }
  EXPECT_EQ(layers, (std::vector<std::string>{"a", "c", "a", "b", "c"}));
}

TEST(ModelConfig, AllFaultsAreReportedAtOnceWithTheirKeys) {
  ModelConfig m = Everywhere(DeltaMixerConfig{.num_heads = 4,
                                              .num_value_heads = 6,
                                              .key_dim = 257,
                                              .value_dim = 0,
                                              .conv_width = -1,
                                              .learned_beta = false,
                                              .negative_eigenvalues = true,
                                              .gate_lower_bound = -1,
                                              .decay_rank = 3,
                                              .output_gate_rank = 2});
  m.norm_eps = 0;
  m.vocab_size = 0;
  for (const char* key :
       {"num_value_heads", "key_dim", "value_dim", "conv_width", "negative_eigenvalues",
        "gate_lower_bound", "decay_rank", "output_gate_rank"}) {
    ExpectFault(m, absl::StrCat("model.mixers.mixer.", key), "");
  }
  ExpectFault(m, "model.norm_eps", "positive");
  ExpectFault(m, "model.vocab_size", "got 0");
  EXPECT_EQ(m.Validate().size(), 10u) << absl::StrJoin(m.Validate(), "\n");
}

TEST(ModelConfig, AttentionFaults) {
  const std::string at = "model.mixers.mixer.";
  ExpectFault(Everywhere(AttentionMixerConfig{.num_heads = 4, .num_kv_heads = 3}),
              at + "num_kv_heads", "divisor");
  ExpectFault(Everywhere(AttentionMixerConfig{.num_heads = 5}), at + "num_heads", "hidden_size");
  ExpectFault(Everywhere(AttentionMixerConfig{.num_heads = 4}), at + "head_dim", "got 512");
  ExpectFault(Everywhere(AttentionMixerConfig{.head_dim = 65}), at + "head_dim", "even");
  ExpectFault(Everywhere(AttentionMixerConfig{.window = -1}), at + "window", "got -1");
  ExpectFault(Everywhere(AttentionMixerConfig{.rope = false, .rope_theta = 5e5}), at + "rope_theta",
              "no effect");
  ExpectFault(Everywhere(AttentionMixerConfig{.qk_norm_eps = 1e-6}), at + "qk_norm_eps",
              "no effect");
  ExpectFault(Everywhere(AttentionMixerConfig{.output_gate = OutputGate::kSilu}),
              at + "output_gate", "sigmoid");
}

TEST(ModelConfig, LatentAttentionFaults) {
  const auto faulty = [](const auto& change) {
    MlaMixerConfig mla;
    change(&mla);
    return Everywhere(mla);
  };
  const std::string mixer = "model.mixers.mixer.";
  ExpectFault(faulty([](auto* c) { c->kv_lora_rank = 513; }), mixer + "kv_lora_rank", "1 to 512");
  ExpectFault(faulty([](auto* c) { c->qk_nope_dim = 200; }), mixer + "qk_nope_dim", "at most 256");
  ExpectFault(faulty([](auto* c) { c->qk_rope_dim = 0; }), mixer + "qk_rope_dim", "1 to 128");
  ExpectFault(faulty([](auto* c) { c->value_dim = 257; }), mixer + "value_dim", "1 to 256");
  ExpectFault(faulty([](auto* c) { c->q_lora_rank = -1; }), mixer + "q_lora_rank", "one matrix");
  ExpectFault(faulty([](auto* c) { c->rope_theta = 500; }), mixer + "rope_theta", "no effect");
  ExpectFault(faulty([](auto* c) { c->output_gate = OutputGate::kSilu; }), mixer + "output_gate",
              "sigmoid");
  ExpectFault(faulty([](auto* c) {
                c->rope = true;
                c->qk_rope_dim = 63;
              }),
              mixer + "qk_rope_dim", "even");
}

TEST(ModelConfig, LayoutFaults) {
  ModelConfig m = Everywhere(DeltaMixerConfig{});
  m.pattern = {"mixer", "sliding"};
  ExpectFault(m, "model.pattern", "'sliding' is not among the mixers (mixer)");
  m.pattern = {"sliding"};
  EXPECT_EQ(m.Validate().size(), 1u);  // not that `mixer` has no use
  m = Everywhere(DeltaMixerConfig{});
  m.mixers["global"] = AttentionMixerConfig{};
  ExpectFault(m, "model.mixers.global", "has no effect");
  m.at["global"] = {2, 25};
  ExpectFault(m, "model.at", "layer 25; layers count from 1 to 24");
  m.at["global"] = {0, 2};
  ExpectFault(m, "model.at", "layer 0");
  m.at["global"] = {2, 2};
  ExpectFault(m, "model.at", "layer 2 is named twice");
  m.at["global"] = {};
  ExpectFault(m, "model.at", "names no layer");
  m.at["globl"] = {3};
  ExpectFault(m, "model.at", "'globl'");
  m = Everywhere(DeltaMixerConfig{});
  m.num_layers = 3;
  m.pattern = {};
  m.at["mixer"] = {1, 3};
  ExpectFault(m, "model.pattern", "without a mixer: 2");
  m.at = {};
  m.pattern = {"mixer", "mixer", "mixer", "mixer"};
  ExpectFault(m, "model.pattern", "4 entries for 3 layers");
  m = ModelConfig();
  ExpectFault(m, "model.mixers", "at least one");
  m = Everywhere(DeltaMixerConfig{});
  m.padding_id = 32000;
  ExpectFault(m, "model.padding_id", "got 32000");
}

TEST(ModelConfig, TypeNames) {
  EXPECT_EQ(MixerConfig(DeltaMixerConfig{}).type().name, "delta_net");
  EXPECT_EQ(MixerConfig(DeltaMixerConfig{.decay = DeltaDecay::kPerHead}).type().name,
            "gated_delta_net");
  EXPECT_EQ(MixerConfig(DeltaMixerConfig{.decay = DeltaDecay::kPerChannel}).type().name, "kda");
  EXPECT_EQ(MixerConfig(AttentionMixerConfig{}).type().name, "attention");
  EXPECT_EQ(MixerConfig(MlaMixerConfig{}).type().name, "mla");
}

}  // namespace
}  // namespace wyvern
