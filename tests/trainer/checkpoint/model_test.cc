#include "trainer/checkpoint/model.h"

#include "absl/strings/match.h"
#include "data/io/json.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "layers/mixers/delta/delta_config.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/saved_model.h"
#include "tests/trainer/state_checks.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/config/model_json.h"

namespace wyvern {
namespace {

class CheckpointModelTest : public CheckpointTest {
 protected:
  static void ExpectSameWeights(Model* a, Model* b) {
    const auto left = a->parameters(), right = b->parameters();
    ASSERT_EQ(left.size(), right.size());
    for (size_t i = 0; i < left.size(); ++i) {
      EXPECT_EQ(left[i]->name, right[i]->name);
      EXPECT_TRUE(SameBytes(left[i]->value, right[i]->value)) << left[i]->name;
    }
  }
};

TEST_F(CheckpointModelTest, ModelOptimizerAndTokenizerComeBack) {
  const auto tokenizer = MakeByteTokenizer();
  const auto model = TinyModel(300, 1);
  const Optimizer optimizer(model.get(), {});
  FillState(optimizer);
  for (const Parameter* p : model->parameters()) p->SyncValue();
  const TrainingState state = {.model = model.get(), .tokenizer = tokenizer.get()};
  const nlohmann::json meta = {{"counters", {{"tokens", 4096}}}};
  ASSERT_TRUE(SaveRun(Run(), 7, optimizer, state, meta).ok());

  const auto info = FindNewestCheckpoint(Run());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->meta["counters"]["tokens"], 4096);
  const auto other = TinyModel(300, 2);
  const Optimizer restored(other.get(), {});
  const absl::Status same = CheckModel(*info, {.model = other.get(), .tokenizer = tokenizer.get()});
  ASSERT_TRUE(same.ok()) << same;
  const absl::Status read = ReadState(*info, restored);
  ASSERT_TRUE(read.ok()) << read;
  ExpectState(restored);
  ExpectSameWeights(model.get(), other.get());

  const auto loaded = LoadModel(Run(), Device::kCpu, DType::kFloat32);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectSameWeights(model.get(), loaded->get());
  const auto stored = LoadCheckpointTokenizer(Run());
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ((*stored)->hash(), tokenizer->hash());

  // In fp64 the fp32 master weights are exact.
  const auto twice = LoadModel(Run(), Device::kCpu, DType::kFloat64);
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_TRUE(SameBytes((*twice)->parameters()[0]->value.To(DType::kFloat32),
                        model->parameters()[0]->value));
}

TEST_F(CheckpointModelTest, AnotherModelIsRefusedByItsFirstDifference) {
  const auto model = TinyModel(300);
  ASSERT_TRUE(SaveRun(Run(), 1, {.model = model.get()}).ok());
  ModelConfig config = TinyConfig(300);
  config.mixers["gated"].As<DeltaMixerConfig>()->key_dim = 32;
  config.num_layers = 5;
  const auto other = Model::Create(config, Device::kCpu, DType::kFloat32);
  const absl::Status status = CheckModel(*OpenCheckpoint(Run()), {.model = other.get()});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(
      absl::StrContains(status.message(), "model.mixers.gated.key_dim: expected 32, found 16"))
      << status;
}

TEST_F(CheckpointModelTest, WithoutATokenizerNoneIsFound) {
  const auto model = TinyModel(300);
  ASSERT_TRUE(SaveRun(Run(), 1, {.model = model.get()}).ok());
  EXPECT_TRUE(absl::IsNotFound(LoadCheckpointTokenizer(Run()).status()));
  EXPECT_TRUE(LoadModel(Run(), Device::kCpu, DType::kFloat32).ok());
}

TEST_F(CheckpointModelTest, ACheckpointWithoutAModelIsRefused) {
  ASSERT_TRUE(WriteCheckpoint(Run(), 1, SomeTensors(), {}, 1).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(LoadModel(Run(), Device::kCpu, DType::kFloat32).status()));
}

TEST(ModelJson, EveryConfigurationComesBack) {
  ModelConfig config = TinyConfig(77);
  config.mixers["kda"].As<DeltaMixerConfig>()->gate_lower_bound = -4.5;
  config.tie_embeddings = true;
  config.norm_eps = 1.25e-6;
  config.num_layers = 8;
  config.at["sliding"] = {1, 3};
  const nlohmann::json json = ModelConfigToJson(config);
  const auto again = ModelConfigFromJson(nlohmann::json::parse(json.dump()));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(*again == config);
  EXPECT_EQ(FirstDifference(json, ModelConfigToJson(*again), "model"), "");
}

// The keys of the first checkpoints. A key that came later needs a row of AddedKeys.
TEST(ModelJson, WhatTheFirstCheckpointsHaveIsEnough) {
  const auto json = ParseJson(R"({
    "vocab_size": 77, "hidden_size": 32, "num_layers": 6, "intermediate_size": 40,
    "mlp_bias": false, "tie_embeddings": false, "norm_eps": 1e-6, "initializer_range": 0.02,
    "padding_id": -1, "pattern": ["kda", "gdn", "delta", "gla", "mla", "attention"], "at": {},
    "mixers": {
      "kda": {"type": "kda", "num_heads": 2, "num_value_heads": 0, "key_dim": 16, "value_dim": 16,
              "conv_width": 4, "learned_beta": true, "negative_eigenvalues": false,
              "gate_lower_bound": null, "decay_rank": 0, "output_gate": "sigmoid",
              "output_gate_rank": 16},
      "gdn": {"type": "gated_delta_net", "num_heads": 2, "num_value_heads": 0, "key_dim": 16,
              "value_dim": 16, "conv_width": 4, "learned_beta": true,
              "negative_eigenvalues": false, "gate_lower_bound": null, "decay_rank": 0,
              "output_gate": "silu", "output_gate_rank": 0},
      "delta": {"type": "delta_net", "num_heads": 2, "num_value_heads": 0, "key_dim": 16,
                "value_dim": 16, "conv_width": 4, "learned_beta": true,
                "negative_eigenvalues": false, "gate_lower_bound": null, "decay_rank": 0,
                "output_gate": "none", "output_gate_rank": 0},
      "gla": {"type": "gla", "num_heads": 2, "key_dim": 16, "value_dim": 16, "conv_width": 0,
              "decay_rank": 4, "decay_normalizer": 16, "min_log_decay": null,
              "output_gate": "silu"},
      "mla": {"type": "mla", "num_heads": 2, "q_lora_rank": 0, "kv_lora_rank": 16,
              "qk_nope_dim": 8, "qk_rope_dim": 4, "value_dim": 8, "latent_norm_eps": 1e-6,
              "rope": false, "rope_theta": 10000, "output_gate": "none"},
      "attention": {"type": "attention", "num_heads": 2, "num_kv_heads": 0, "head_dim": 0,
                    "window": 0, "rope": true, "rope_theta": 10000, "qkv_bias": false,
                    "output_bias": false, "qk_norm": false, "qk_norm_eps": 1e-5,
                    "output_gate": "none"}},
    "moe": {"num_experts": 4, "experts_per_token": 2, "intermediate_size": 8, "shared_experts": 1,
            "first_dense": 1, "every": 1, "router": "sigmoid", "renormalize": true, "scale": 1,
            "groups": 1, "top_groups": 1}})",
                              "model");
  ASSERT_TRUE(json.ok()) << json.status();
  const auto config = ModelConfigFromJson(*json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(ModelConfigToJson(*config), *json);  // and no more is written where it has no effect
}

TEST(ModelJson, FaultsNameTheKey) {
  const nlohmann::json good = ModelConfigToJson(TinyConfig(77));
  const auto expect = [](const nlohmann::json& json, const std::string& part) {
    const absl::Status status = ModelConfigFromJson(json).status();
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  };
  nlohmann::json json = good;
  json["hidden_size"] = "big";
  expect(json, "model.hidden_size: expected an integer, found \"big\"");
  json = good;
  json.erase("norm_eps");
  expect(json, "model.norm_eps: the key is missing");
  json = good;
  json["mixers"]["kda"]["heads"] = 3;
  expect(json, "model.mixers.kda.heads: unknown key");
  json = good;
  json["mixers"]["kda"]["type"] = "mamba";
  expect(json,
         "model.mixers.kda.type: expected delta_net, gated_delta_net, kda, gla, mamba2, attention "
         "or mla");
  json = good;
  json["num_layers"] = 0;
  expect(json, "num_layers");
  expect(nlohmann::json::array(), "model");
}

TEST(ModelJson, TheFirstDifferenceIsNamed) {
  const nlohmann::json a = {{"a", 1}, {"b", {{"c", 2}, {"d", 3}}}};
  EXPECT_EQ(FirstDifference(a, {{"a", 1}, {"b", {{"c", 2}, {"d", 4}}}}, "m"),
            "m.b.d: expected 3, found 4");
  EXPECT_EQ(FirstDifference(a, {{"a", 1}, {"b", {{"d", 3}}}}, "m"),
            "m.b.c: expected 2, found nothing");
  EXPECT_EQ(FirstDifference(a, {{"a", 1}, {"a2", 0}, {"b", 5}}, "m"),
            "m.a2: expected nothing, found 0");
}

}  // namespace
}  // namespace wyvern
