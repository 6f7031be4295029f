// transformers' mamba2: limits of steps, the padding token, what is refused.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/mamba2/mamba2_config.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/hf/load_folder.h"

namespace wyvern {
namespace {

using nlohmann::json;

json Small() {
  return {{"model_type", "mamba2"}, {"hidden_size", 32}, {"num_hidden_layers", 2},
          {"vocab_size", 50},       {"num_heads", 8},    {"head_dim", 8},
          {"state_size", 16},       {"n_groups", 2},     {"pad_token_id", 7}};
}

json With(const std::string& key, json value) {
  json config = Small();
  config[key] = std::move(value);
  return config;
}

Mamba2MixerConfig Read(const json& config) {
  const auto read = ReadHfConfig(config);
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return {};
  EXPECT_TRUE(read->warnings.empty()) << absl::StrJoin(read->warnings, "\n");
  EXPECT_FALSE(read->model.mlp);
  return *read->model.MixerOfLayer(0).As<Mamba2MixerConfig>();
}

TEST(HfMamba2, DefaultsAreTheLibrarys) {
  const auto read = ReadHfConfig({{"model_type", "mamba2"}});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->model.norm_eps, 1e-5);
  const auto& c = *read->model.MixerOfLayer(63).As<Mamba2MixerConfig>();
  EXPECT_EQ(c.num_heads, 128);
  EXPECT_EQ(c.num_groups, 8);
  EXPECT_TRUE(c.conv_bias);
  EXPECT_FALSE(c.bias);
}

TEST(HfMamba2, AnInfiniteLimitIsNone) {
  EXPECT_EQ(Read(Small()).max_dt, std::nullopt);
  for (const json& most : {json("Infinity"), json({{"__float__", "Infinity"}})}) {
    EXPECT_EQ(Read(With("time_step_limit", {0.0, most})).max_dt, std::nullopt);
  }
  const Mamba2MixerConfig both = Read(With("time_step_limit", {0.01, 0.5}));
  EXPECT_EQ(both.min_dt, 0.01);
  EXPECT_EQ(both.max_dt, 0.5);
}

// transformers 4 wrote the number bare, which is no JSON.
TEST(HfMamba2, ABareInfinityOfAFileIsRead) {
  const TemporaryFolder folder;
  std::string text = With("time_step_limit", {0.0, 12345}).dump();
  text.replace(text.find("12345"), 5, "Infinity");
  ASSERT_TRUE(WriteFileAtomically(folder / "config.json", text).ok());
  const auto read = ReadHfConfigFile(folder / ".");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->model.MixerOfLayer(0).As<Mamba2MixerConfig>()->max_dt, std::nullopt);
}

// The embedding's row of the padding token is trained like any other; the key comes back.
TEST(HfMamba2, ThePaddingTokenIsKept) {
  const auto read = ReadHfConfig(Small());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->model.padding_id, -1);
  const auto written = WriteHfConfig(read->model, {.keep = read->kept});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->config["pad_token_id"], 7);
  EXPECT_EQ(written->config["expand"], 2);
  EXPECT_FALSE(written->config.contains("intermediate_size"));
}

TEST(HfMamba2, WhatIsNotServedIsRefusedByName) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, json>>{{"expand", 3},
                                                 {"hidden_act", "gelu"},
                                                 {"norm_before_gate", true},
                                                 {"rms_norm", false},
                                                 {"time_step_limit", {0.1}},
                                                 {"time_step_limit", {0.1, "many"}},
                                                 {"time_step_limit", {0.2, 0.1}},
                                                 {"time_step_limit", {-1, 0.1}},
                                                 {"n_groups", 0}}) {
    const auto read = ReadHfConfig(With(key, value));
    EXPECT_FALSE(read.ok()) << key << ": " << value;
    EXPECT_TRUE(absl::StrContains(read.status().message(), key)) << read.status();
  }
}

TEST(HfMamba2, WhatItsConfigCannotHoldIsNotExported) {
  const auto refuses = [](const auto& change, const std::string& what) {
    ModelConfig m = HfTestModelNamed("mamba2");
    change(&m);
    const auto written = WriteHfConfig(m, {.family = FindHfFamily("mamba2")});
    EXPECT_FALSE(written.ok()) << what;
    EXPECT_TRUE(absl::StrContains(written.status().message(), what)) << written.status();
  };
  refuses([](ModelConfig* m) { m->mlp = true; }, "without an MLP");
  refuses([](ModelConfig* m) { m->padding_id = 3; }, "padding_id");
  refuses([](ModelConfig* m) { m->mixers["mixer"].As<Mamba2MixerConfig>()->num_heads = 6; },
          "multiple of hidden_size");
  refuses(
      [](ModelConfig* m) {
        m->mixers["other"] = AttentionMixerConfig{.num_heads = 2};
        m->at["other"] = {2};
      },
      "layer 2 is attention");
  // And no other family has layers without an MLP.
  ModelConfig llama = HfTestModelNamed("llama");
  llama.mlp = false;
  llama.intermediate_size = 0;
  const auto written = WriteHfConfig(llama, {.family = FindHfFamily("llama")});
  EXPECT_TRUE(absl::StrContains(written.status().message(), "with an MLP")) << written.status();
}

}  // namespace
}  // namespace wyvern
