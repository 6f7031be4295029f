#include "trainer/hf/hf_config.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/config/load.h"
#include "trainer/config/model_json.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

using nlohmann::json;

json Base(const std::string& model_type) {
  if (model_type == "llama") {
    return {{"model_type", "llama"},  {"hidden_size", 64},        {"intermediate_size", 96},
            {"num_hidden_layers", 4}, {"num_attention_heads", 4}, {"vocab_size", 50}};
  }
  json config = {{"model_type", model_type},
                 {"hidden_size", 64},
                 {"num_hidden_layers", 4},
                 {"num_heads", 4},
                 {"vocab_size", 50}};
  if (model_type == "gated_deltanet" || model_type == "kda") config["head_dim"] = 16;
  return config;
}

json With(const std::string& model_type, const std::string& key, json value) {
  json config = Base(model_type);
  config[key] = std::move(value);
  return config;
}

ModelConfig Read(const json& config) {
  const auto read = ReadHfConfig(config);
  EXPECT_TRUE(read.ok()) << read.status();
  return read.ok() ? read->model : ModelConfig();
}

TEST(HfConfig, DefaultsAreTheLibraries) {
  const ModelConfig delta = Read({{"model_type", "delta_net"}});
  EXPECT_EQ(CountParameters(delta), 1'365'677'056);
  const auto& d = *delta.MixerOfLayer(0).As<DeltaMixerConfig>();
  EXPECT_EQ(d.key_dim, 128);
  EXPECT_EQ(d.output_gate, OutputGate::kNone);
  const ModelConfig kda = Read({{"model_type", "kda"}});
  EXPECT_EQ(CountParameters(kda), 1'390'941'568);
  // 256 with values twice as wide is more than the kernels serve.
  const auto gated = ReadHfConfig({{"model_type", "gated_deltanet"}});
  EXPECT_TRUE(absl::StrContains(gated.status().message(), "value_dim: expected 1 to 256"));
  EXPECT_TRUE(absl::StrContains(gated.status().message(), "got 512"));
}

TEST(HfConfig, HybridLayersCountFromZeroInTheFileAndFromOneHere) {
  const ModelConfig m = Read(With(
      "delta_net", "attn",
      json::array({{{"layers", {1}}, {"num_heads", 4}, {"window_size", 8}},
                   {{"layers", {3}}, {"num_heads", 2}, {"num_kv_heads", 1}, {"qkv_bias", true}}})));
  EXPECT_TRUE(m.MixerOfLayer(0).As<DeltaMixerConfig>() != nullptr);
  EXPECT_EQ(m.MixerOfLayer(1).As<AttentionMixerConfig>()->window, 8);
  EXPECT_TRUE(m.MixerOfLayer(3).As<AttentionMixerConfig>()->qkv_bias);
  EXPECT_EQ(m.at.at("sliding"), std::vector<int64_t>{2});
}

TEST(HfConfig, LlamaKeysOfTransformers4And5AreTheSame) {
  json v4 = Base("llama"), v5 = Base("llama");
  v4["rope_theta"] = 5e5;
  v4["rope_scaling"] = nullptr;
  v4["torch_dtype"] = "bfloat16";
  v5["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  v5["dtype"] = "bfloat16";
  EXPECT_EQ(Read(v4), Read(v5));
  EXPECT_EQ(Read(v4).MixerOfLayer(0).As<AttentionMixerConfig>()->rope_theta, 5e5);
}

TEST(HfConfig, WhatCannotBeHonouredIsAnErrorThatNamesTheKey) {
  const std::vector<std::pair<std::string, json>> cases = {
      {"use_l2warp", With("delta_net", "use_l2warp", true)},
      {"attnres_block_size", With("kda", "attnres_block_size", 4)},
      {"hidden_act", With("gated_deltanet", "hidden_act", "powlu")},
      {"qk_activation", With("delta_net", "qk_activation", "relu")},
      {"qk_norm", With("delta_net", "qk_norm", "sum")},
      {"elementwise_affine", With("transformer", "elementwise_affine", false)},
      {"safe_gate", With("kda", "safe_gate", true)},
      {"gate_lower_bound", With("kda", "lower_bound", -9.0)},
      {"expand_v", With("delta_net", "expand_v", 0.99)},
      {"num_value_heads", With("gated_deltanet", "num_v_heads", 6)},
      {"conv_size", With("kda", "conv_size", 0)},
      {"head_dim", With("llama", "head_dim", 258)},
      {"rope_scaling.rope_type", With("llama", "rope_scaling", {{"rope_type", "llama3"}})},
      {"rope_scaling.type", With("llama", "rope_scaling", {{"type", "linear"}, {"factor", 2}})},
      {"rope_parameters.rope_type",
       With("llama", "rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 1e4}})},
      {"hidden_act", With("llama", "hidden_act", "gelu")},
      {"attention_dropout", With("llama", "attention_dropout", 0.1)},
      {"pad_token_id", With("llama", "pad_token_id", 50)},
      {"hidden_size", With("llama", "hidden_size", "64")},
      {"tie_word_embeddings", With("kda", "tie_word_embeddings", 1)},
      {"window_size", With("transformer", "window_size", 0)},
      {"attn.layers", With("kda", "attn", {{"layers", {4}}, {"num_heads", 4}})},
      {"attn.num_heads", With("kda", "attn", {{"layers", {1}}})},
      {"attn[1]: expected an object", With("kda", "attn", json::array({nullptr, 3}))},
      {"layer 2 is named twice", With("kda", "attn",
                                      json::array({{{"layers", {1}}, {"num_heads", 4}},
                                                   {{"layers", {1}}, {"num_heads", 2}}}))},
      {"quantization_config", With("llama", "quantization_config", {{"quant_method", "gptq"}})},
      {"quantization_config", With("kda", "quantization_config", json::object())},
      {"logit_scale", With("llama", "logit_scale", 0.0625)},
      {"embedding_multiplier", With("delta_net", "embedding_multiplier", 12)},
      {"residual_multiplier", With("llama", "residual_multiplier", 0.22)},
      {"attention_multiplier", With("llama", "attention_multiplier", 0.0078125)},
      {"final_logit_softcapping", With("llama", "final_logit_softcapping", 30.0)},
      {"use_qk_norm", With("llama", "use_qk_norm", true)},
      {"qk_norm", With("llama", "qk_norm", true)},
      {"use_sliding_window", With("llama", "use_sliding_window", true)},
      {"num_key_value_heads: expected a positive number, got 0",
       With("llama", "num_key_value_heads", 0)},
      {"head_dim: expected a positive number, got 0", With("llama", "head_dim", 0)},
      {"num_kv_heads: expected a positive number", With("transformer", "num_kv_heads", 0)},
      {"num_v_heads: expected a positive number", With("gated_deltanet", "num_v_heads", 0)},
      {"model_type", With("mamba", "num_experts", 8)}};
  for (const auto& [key, config] : cases) {
    const auto read = ReadHfConfig(config);
    ASSERT_FALSE(read.ok()) << config.dump();
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(read.status().message(), key)) << key << " in: " << read.status();
  }
}

TEST(HfConfig, AlterationsThatAlterNothingAreFine) {
  json config = Base("llama");
  for (const char* key :
       {"logit_scale", "embedding_multiplier", "residual_multiplier", "attention_multiplier"}) {
    config[key] = 1.0;
  }
  for (const char* key : {"use_qk_norm", "use_sliding_window"}) config[key] = false;
  for (const char* key :
       {"quantization_config", "num_key_value_heads", "final_logit_softcapping"}) {
    config[key] = nullptr;
  }
  const auto read = ReadHfConfig(config);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->model, Read(Base("llama")));
  EXPECT_TRUE(read->warnings.empty()) << absl::StrJoin(read->warnings, "\n");
}

TEST(HfConfig, EveryFaultIsReported) {
  json config = Base("delta_net");
  config["use_l2warp"] = true;
  config["qk_norm"] = "sum";
  config["norm_eps"] = "small";
  const std::string message(ReadHfConfig(config).status().message());
  for (const char* key : {"use_l2warp", "qk_norm", "norm_eps"}) {
    EXPECT_TRUE(absl::StrContains(message, key)) << message;
  }
}

// As FLA's own models do where they have a gate.
TEST(HfConfig, GlaFusesItsOutputNormWithItsGate) {
  for (const auto& [name, model] : HfTestModels()) {
    if (name != "gla" && name != "gla_conv") continue;
    const auto written = WriteHfConfig(model, {});
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(written->config["fuse_norm"], true);
    std::string gain;
    const std::unique_ptr<Model> declared = Model::Declare(model);
    for (const Parameter* p : declared->parameters()) {
      if (p->name == "blocks.0.mixer.output_norm.weight") {
        gain = HfTensorsOf(*p, model, *written->family)[0].name;
      }
    }
    EXPECT_EQ(gain, absl::StrCat("model.layers.0.attn.",
                                 name == "gla" ? "g_norm_swish_gate.weight" : "g_norm.weight"));
  }
}

TEST(HfConfig, ModelsReadBackFromARunsFile) {
  for (const auto& [name, model] : HfTestModels()) {
    const auto read = ParseRunConfig(absl::StrCat("run: {name: test, device: cpu}\n"
                                                  "data: {sources: [{dir: stores}], seq_len: 8}\n"
                                                  "train: {steps: 10, batch_tokens: 16}\n",
                                                  ToYaml(model)),
                                     name);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(ModelConfigToJson(read->model), ModelConfigToJson(model)) << name;
  }
}

TEST(HfConfig, UnknownKeysWarnAndAreKept) {
  json config = With("gated_deltanet", "sparkle", 3);
  config["fuse_norm"] = true;
  config["temperature"] = 0.7;
  config["eos_token_id"] = 9;
  const auto read = ReadHfConfig(config);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->warnings.size(), 1u) << absl::StrJoin(read->warnings, "\n");
  EXPECT_TRUE(absl::StrContains(read->warnings[0], "sparkle"));
  const auto written = WriteHfConfig(read->model, {.keep = read->kept});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->config["sparkle"], 3);
  EXPECT_EQ(written->config["eos_token_id"], 9);
  EXPECT_EQ(written->config["head_dim"], 16);
}

class HfConfigRoundTrip : public testing::TestWithParam<std::string> {};

TEST_P(HfConfigRoundTrip, ReadsWhatItWrote) {
  const ModelConfig model = HfTestModelNamed(GetParam());
  const auto written = WriteHfConfig(model, {});
  ASSERT_TRUE(written.ok()) << written.status();
  const auto read = ReadHfConfig(written->config);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->warnings.empty()) << absl::StrJoin(read->warnings, "\n");
  const auto again = WriteHfConfig(read->model, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(written->config, again->config);
  EXPECT_EQ(CountParameters(model), CountParameters(read->model));
}

INSTANTIATE_TEST_SUITE_P(All, HfConfigRoundTrip, testing::ValuesIn(HfTestModelNames()),
                         [](const auto& info) { return info.param; });

TEST(HfConfig, ModelsThatNoFamilyHoldsAreRefusedWithTheReason) {
  const DeltaMixerConfig gated{
      .decay = DeltaDecay::kPerHead, .num_heads = 2, .key_dim = 16, .value_dim = 16};
  const DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                             .num_heads = 2,
                             .key_dim = 16,
                             .value_dim = 16,
                             .output_gate = OutputGate::kSigmoid,
                             .output_gate_rank = 16};
  const auto expect = [](const ModelConfig& m, const std::string& reason) {
    ASSERT_TRUE(m.Validate().empty()) << absl::StrJoin(m.Validate(), "\n");
    const auto written = WriteHfConfig(m, {});
    ASSERT_FALSE(written.ok()) << reason;
    EXPECT_TRUE(absl::StrContains(written.status().message(), reason)) << written.status();
    // The way out comes first.
    EXPECT_TRUE(absl::StartsWith(written.status().message(), "take --family wyvern, "))
        << written.status();
  };
  ModelConfig mixed = HfTestModel(gated);
  mixed.mixers["kda"] = kda;
  mixed.pattern = {"mixer", "kda"};
  expect(mixed,
         "needs one mixer beside attention: layers 1 and 2 differ (gated_delta_net and kda)");
  ModelConfig two = HfTestModel(gated);
  two.mixers["wide"] = DeltaMixerConfig{
      .decay = DeltaDecay::kPerHead, .num_heads = 2, .key_dim = 16, .value_dim = 32};
  two.at["wide"] = {3};
  expect(two, "two kinds of gated_delta_net");
  DeltaMixerConfig full_rank = kda;
  full_rank.output_gate_rank = 0;
  expect(HfTestModel(full_rank), "output_gate");
  DeltaMixerConfig other_rank = kda;
  other_rank.decay_rank = 4;
  expect(HfTestModel(other_rank), "decay_rank");
  expect(HfTestModel(gated, {{AttentionMixerConfig{.num_heads = 2, .rope = false}, {1}}}),
         "rope: true");
  expect(HfTestModel(gated, {{AttentionMixerConfig{.num_heads = 2, .qk_norm = true}, {1}}}),
         "qk_norm");
  expect(HfTestModel(gated, {{AttentionMixerConfig{.num_heads = 2, .head_dim = 20}, {1}}}),
         "hidden_size 32");
  expect(HfTestModel(AttentionMixerConfig{.num_heads = 2, .output_gate = OutputGate::kSigmoid}),
         "output_gate");
  ModelConfig biased = HfTestModel(gated);
  biased.mlp_bias = true;
  expect(biased, "mlp_bias");
  const auto as_llama = WriteHfConfig(HfTestModel(gated), {.family = FindHfFamily("llama")});
  EXPECT_TRUE(absl::StrContains(as_llama.status().message(), "layer 1 is gated_delta_net"));
}

TEST(HfConfig, AFamilyOfAttentionLayersMayBeChosen) {
  const ModelConfig m = HfTestModelNamed("llama");
  EXPECT_EQ(WriteHfConfig(m, {})->config["model_type"], "llama");
  EXPECT_EQ(WriteHfConfig(m, {.family = FindHfFamily("transformer")})->config["model_type"],
            "transformer");
}

}  // namespace
}  // namespace wyvern
