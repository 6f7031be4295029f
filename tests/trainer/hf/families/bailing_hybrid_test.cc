// Hugging Face's bailing_hybrid: the two spellings of its keys, what is refused, layers behind the
// model's.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "data/io/safetensors.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

using nlohmann::json;

// The keys of the published files, with sizes of a small model.
json Published() {
  return {{"model_type", "bailing_hybrid"},
          {"architectures", {"BailingMoeV3ForCausalLM"}},
          {"hidden_size", 64},
          {"num_hidden_layers", 8},
          {"intermediate_size", 128},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 2},
          {"head_dim", 32},
          {"vocab_size", 128},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 6000000},
          {"rope_scaling", nullptr},
          {"partial_rotary_factor", 0.5},
          {"tie_word_embeddings", false},
          {"layer_group_size", 4},
          {"first_k_dense_replace", 1},
          {"short_conv_kernel_size", 4},
          {"no_kda_lora", true},
          {"use_kda_lora", false},
          {"kda_safe_gate", true},
          {"kda_lower_bound", -5},
          {"linear_attention", "kda"},
          {"linear_silu", true},
          {"use_qk_norm", true},
          {"group_norm_size", 1},
          {"num_kv_heads_for_linear_attn", 0},
          {"q_lora_rank", 32},
          {"kv_lora_rank", 32},
          {"qk_rope_head_dim", 16},
          {"qk_nope_head_dim", 32},
          {"v_head_dim", 32},
          {"rope_interleave", true},
          {"use_mla_nope", false},
          {"use_qkv_bias", false},
          {"gated_attention_proj_granularity_type", "head_wise"},
          {"num_experts", 8},
          {"num_experts_per_tok", 2},
          {"num_shared_experts", 1},
          {"moe_intermediate_size", 32},
          {"moe_shared_expert_intermediate_size", 32},
          {"n_group", 2},
          {"topk_group", 1},
          {"routed_scaling_factor", 2.5},
          {"norm_topk_prob", true},
          {"score_function", "sigmoid"},
          {"moe_router_enable_expert_bias", true},
          {"expert_swiglu_limit_list", nullptr},
          {"num_nextn_predict_layers", 1}};
}

ModelConfig Read(const json& config) {
  const auto read = ReadHfConfig(config);
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return {};
  EXPECT_TRUE(read->warnings.empty()) << absl::StrJoin(read->warnings, "\n");
  return read->model;
}

TEST(HfLing, ThePublishedKeysAreRead) {
  const ModelConfig m = Read(Published());
  for (int64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(m.MixerOfLayer(i).type().name, i % 4 == 3 ? "mla" : "kda") << i;
    EXPECT_EQ(m.IsMoe(i), i > 0) << i;
  }
  const auto& kda = *m.MixerOfLayer(0).As<DeltaMixerConfig>();
  EXPECT_EQ(kda.gate_lower_bound, -5);
  EXPECT_EQ(kda.decay_rank, DeltaMixerConfig::kFullRank);
  EXPECT_EQ(kda.output_gate_rank, 0);
  EXPECT_EQ(kda.key_dim, 32);
  const auto& mla = *m.MixerOfLayer(3).As<MlaMixerConfig>();
  EXPECT_TRUE(mla.rope);
  EXPECT_EQ(mla.rope_theta, 6e6);
  EXPECT_EQ(mla.output_gate_scope, OutputGateScope::kHead);
  EXPECT_EQ(m.moe->groups, 2);
  EXPECT_EQ(m.moe->scale, 2.5);
  const auto written = WriteHfConfig(m, {});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->config["layer_group_size"], 4);
  EXPECT_EQ(Read(written->config), m);
}

// transformers 5.24 spells some keys as Kimi does, lists the layers and writes head_dim as that of
// MLA's rotating part.
TEST(HfLing, TheVocabularyOfTransformersSaysTheSame) {
  json config = Published();
  const ModelConfig published = Read(config);
  for (const auto& [theirs, key] : {std::pair("num_experts_per_token", "num_experts_per_tok"),
                                    {"num_expert_group", "n_group"},
                                    {"moe_renormalize", "norm_topk_prob"},
                                    {"linear_head_dim", "head_dim"}}) {
    config[theirs] = config[key];
    config.erase(key);
  }
  config["head_dim"] = 16;
  config["linear_num_heads"] = 2;
  config["linear_conv_kernel_dim"] = 4;
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 6e6}};
  json types = json::array(), mlp = json::array();
  for (int i = 0; i < 8; ++i) {
    types.push_back(i % 4 == 3 ? "full_attention" : "linear_attention");
    mlp.push_back(i == 0 ? "dense" : "sparse");
  }
  config["layer_types"] = types;
  config["mlp_layer_types"] = mlp;
  EXPECT_EQ(Read(config), published);
}

TEST(HfLing, WhatIsNotServedIsRefusedByName) {
  const auto refuses = [](const std::string& key, const json& value, const std::string& what) {
    json config = Published();
    config[key] = value;
    const auto read = ReadHfConfig(config);
    EXPECT_FALSE(read.ok()) << key;
    EXPECT_TRUE(absl::StrContains(read.status().message(), what)) << read.status();
  };
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{
           {"no_kda_lora", false},
           {"use_mla_nope", true},
           {"use_bias", true},
           {"rope_interleave", false},
           {"gated_attention_proj_granularity_type", "token_wise"},
           {"score_function", "softmax"},
           {"group_norm_size", 4},
           {"tie_word_embeddings", true},
           {"num_kv_heads_for_linear_attn", 1},
           {"linear_num_heads", 4},
           {"linear_conv_kernel_dim", 3},
           {"num_expert_group", 4},
           {"moe_shared_expert_intermediate_size", 16},
           {"kda_lower_bound", -6},
           {"qk_rope_head_dim", nullptr}}) {
    refuses(key, value, key == "kda_lower_bound" ? "gate_lower_bound" : key);
  }
  // Layers whose SwiGLU is clamped; 0 stands for none.
  refuses("expert_swiglu_limit_list", {0, 0, 0, 0, 0, 0, 4.0, 5.0}, "expert_swiglu_limit_list");
  json config = Published();
  config["share_expert_swiglu_limit_list"] = json(std::vector<int>(8, 0));
  EXPECT_EQ(Read(config), Read(Published()));
  // Readers differ on the layers behind the last whole group.
  refuses("layer_group_size", 3, "layer_group_size: 3 does not divide");
}

TEST(HfLing, WhatItsConfigCannotHoldIsNotExported) {
  const auto refuses = [](const auto& change, const std::string& what) {
    ModelConfig m = HfTestModelNamed("ling");
    change(&m);
    const auto written = WriteHfConfig(m, {.family = FindHfFamily("bailing_hybrid")});
    EXPECT_FALSE(written.ok()) << what;
    EXPECT_TRUE(absl::StrContains(written.status().message(), what)) << written.status();
  };
  const auto mla = [](ModelConfig* m) -> MlaMixerConfig& {
    return *m->mixers["attention_0"].As<MlaMixerConfig>();
  };
  const auto kda = [](ModelConfig* m) -> DeltaMixerConfig& {
    return *m->mixers["mixer"].As<DeltaMixerConfig>();
  };
  refuses([&](ModelConfig* m) { mla(m).rope = false; }, "rope: true");
  refuses([&](ModelConfig* m) { mla(m).output_gate_scope = OutputGateScope::kChannel; },
          "output_gate_scope is head");
  refuses([&](ModelConfig* m) { kda(m).decay_rank = 0; }, "decay_rank is full");
  refuses([&](ModelConfig* m) { kda(m).output_gate_rank = 8; }, "output_gate_rank is 0");
  refuses([&](ModelConfig* m) { kda(m).num_heads = 4; }, "as many heads");
  refuses([&](ModelConfig* m) { kda(m).l2_norm_eps = 1e-5; }, "l2_norm_eps");
  refuses([&](ModelConfig* m) { m->moe->every = 2; }, "every");
  refuses([&](ModelConfig* m) { m->moe->router = RouterScore::kSoftmax; }, "router");
  refuses([&](ModelConfig* m) { m->moe->shared_experts = 0; }, "shared_experts");
}

// Readers pass over as many layers behind the model's as config.json speaks of.
TEST(HfLing, LayersThatPredictSeveralTokensArePassedOver) {
  const TemporaryFolder folder;
  const std::string dir = folder / "model";
  auto model = Model::Create(HfTestModelNamed("ling_dense"), Device::kCpu, DType::kFloat32, false);
  model->Initialize(5);
  ASSERT_TRUE(SaveHfFolder(model.get(), dir, {.max_shard_bytes = 20'000}).ok());
  const auto read = [&](const std::string& name) { return json::parse(*ReadFile(dir + name)); };
  const json config = read("/config.json"), index = read("/model.safetensors.index.json");
  const auto load = [&](const std::string& tensor, int64_t num_layers) {
    const std::vector<SafetensorsSpec> specs = {{tensor, "F32", {2}}};
    auto writer = SafetensorsWriter::Create(dir + "/extra.safetensors", specs);
    EXPECT_TRUE(writer.ok()) << writer.status();
    const float values[2] = {1, 2};
    EXPECT_TRUE(writer->Write(tensor, values, sizeof(values)).ok());
    EXPECT_TRUE(writer->Finish().ok());
    json longer = index;
    longer["weight_map"][tensor] = "extra.safetensors";
    EXPECT_TRUE(WriteFileAtomically(dir + "/model.safetensors.index.json", longer.dump()).ok());
    json changed = config;
    changed["num_nextn_predict_layers"] = num_layers;
    EXPECT_TRUE(WriteFileAtomically(dir + "/config.json", changed.dump()).ok());
    return LoadHfFolder(dir, Device::kCpu, DType::kFloat32, false).status();
  };
  EXPECT_TRUE(load("model.layers.4.eh_proj.weight", 1).ok());
  for (const char* misplaced : {"model.layers.5.eh_proj.weight", "model.layers.3.eh_proj.weight"}) {
    const absl::Status status = load(misplaced, 1);
    EXPECT_TRUE(absl::StrContains(status.message(), misplaced)) << status;
  }
  EXPECT_FALSE(load("model.layers.4.eh_proj.weight", 0).ok());
}

}  // namespace
}  // namespace wyvern
