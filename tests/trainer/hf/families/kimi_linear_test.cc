// Hugging Face's kimi_linear: its two vocabularies, the order of its tensors, folders of many
// shards.
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/checkpoint/model.h"
#include "trainer/hf/import_folder.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

using nlohmann::json;

// The configuration published with Kimi-Linear-48B-A3B.
json Published() {
  json kda = json::array();
  for (int layer = 1; layer <= 26; ++layer) {
    if (layer % 4 != 0) kda.push_back(layer);
  }
  return {{"model_type", "kimi_linear"},
          {"architectures", {"KimiLinearForCausalLM"}},
          {"hidden_size", 2304},
          {"num_hidden_layers", 27},
          {"vocab_size", 163840},
          {"linear_attn_config",
           {{"head_dim", 128},
            {"num_heads", 32},
            {"short_conv_kernel_size", 4},
            {"kda_layers", kda},
            {"full_attn_layers", {4, 8, 12, 16, 20, 24, 27}}}},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 32},
          {"q_lora_rank", nullptr},
          {"kv_lora_rank", 512},
          {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},
          {"v_head_dim", 128},
          {"mla_use_nope", true},
          {"rms_norm_eps", 1e-5},
          {"first_k_dense_replace", 1},
          {"moe_layer_freq", 1},
          {"intermediate_size", 9216},
          {"moe_intermediate_size", 1024},
          {"num_experts", 256},
          {"num_experts_per_token", 8},
          {"num_shared_experts", 1},
          {"moe_router_activation_func", "sigmoid"},
          {"moe_renormalize", true},
          {"routed_scaling_factor", 2.446},
          {"use_grouped_topk", true},
          {"num_expert_group", 1},
          {"topk_group", 1},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"initializer_range", 0.02},
          {"model_max_length", 1048576},
          {"rope_theta", 10000.0},
          {"head_dim", 72},
          {"pad_token_id", 163839},
          {"bos_token_id", 163584},
          {"eos_token_id", 163586}};
}

ModelConfig Read(const json& config) {
  const auto read = ReadHfConfig(config);
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return {};
  EXPECT_TRUE(read->warnings.empty()) << absl::StrJoin(read->warnings, "\n");
  return read->model;
}

TEST(HfKimi, ThePublishedModelHasItsPublishedSize) {
  const ModelConfig m = Read(Published());
  EXPECT_NEAR(static_cast<double>(CountParameters(m)), 49.12e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(CountActiveParameters(m)), 3.48e9, 0.005e9);
  for (int64_t i = 0; i < 27; ++i) {
    EXPECT_EQ(m.MixerOfLayer(i).type().name, i % 4 == 3 || i == 26 ? "mla" : "kda") << i;
    EXPECT_EQ(m.IsMoe(i), i > 0) << i;
  }
  EXPECT_EQ(m.padding_id, 163839);
  EXPECT_EQ(*m.MixerOfLayer(3).As<MlaMixerConfig>(), MlaMixerConfig());
}

TEST(HfKimi, TheVocabularyOfTransformersSaysTheSame) {
  json config = Published();
  const ModelConfig published = Read(config);
  json types = json::array(), mlp = json::array();
  for (int i = 0; i < 27; ++i) {
    types.push_back(i % 4 == 3 || i == 26 ? "full_attention" : "linear_attention");
    mlp.push_back(i == 0 ? "dense" : "sparse");
  }
  config["layer_types"] = types;
  config["mlp_layer_types"] = mlp;
  config["linear_num_heads"] = 32;
  config["linear_head_dim"] = 128;
  config["linear_conv_kernel_dim"] = 4;
  config["qk_head_dim"] = 192;
  config["head_dim"] = 64;
  config["attention_bias"] = false;
  for (const char* key : {"mla_use_nope", "first_k_dense_replace", "moe_layer_freq",
                          "moe_router_activation_func", "use_grouped_topk"}) {
    config.erase(key);
  }
  EXPECT_EQ(Read(config), published);
  config["linear_attn_config"].erase("kda_layers");
  config["linear_attn_config"].erase("full_attn_layers");
  EXPECT_EQ(Read(config), published);
  // And what is written has both.
  const auto written = WriteHfConfig(published, {});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->family, FindHfFamily("kimi_linear"));
  EXPECT_EQ(written->config["layer_types"], types);
  EXPECT_EQ(written->config["mlp_layer_types"], mlp);
  for (const char* key : {"linear_attn_config", "first_k_dense_replace", "routed_scaling_factor",
                          "mla_use_nope", "q_lora_rank", "kv_lora_rank"}) {
    EXPECT_EQ(written->config[key], Published()[key]) << key;
  }
  EXPECT_EQ(Read(written->config), published);
}

// As Kimi K3's configuration says them: bounded decays, gates of one matrix, gated MLA.
TEST(HfKimi, TheKeysOfGatesAreRead) {
  json config = Published();
  json& linear = config["linear_attn_config"];
  linear["gate_lower_bound"] = -5.0;
  linear["use_full_rank_gate"] = true;
  config["mla_use_output_gate"] = true;
  const ModelConfig m = Read(config);
  const auto& kda = *m.MixerOfLayer(0).As<DeltaMixerConfig>();
  EXPECT_EQ(kda.gate_lower_bound, -5);
  EXPECT_EQ(kda.output_gate_rank, 0);
  EXPECT_EQ(kda.decay_rank, 128);
  const auto& mla = *m.MixerOfLayer(26).As<MlaMixerConfig>();
  EXPECT_EQ(mla.output_gate, OutputGate::kSigmoid);
  EXPECT_EQ(mla.output_gate_scope, OutputGateScope::kChannel);
  const auto written = WriteHfConfig(m, {});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->config["linear_attn_config"], linear);
  EXPECT_EQ(written->config["mla_use_output_gate"], true);
}

// Several numbers can give one list of sparse layers: those the configuration has are kept.
TEST(HfKimi, NumbersThatGiveTheLayerListStay) {
  ModelConfig model = Read(Published());
  model.num_layers = 3;
  model.at["mla"] = {1, 3};
  for (const auto& [first_dense, every] : {std::pair(1, 2), {2, 1}, {2, 2}, {0, 3}, {1, 1}}) {
    model.moe->first_dense = first_dense;
    model.moe->every = every;
    const auto written = WriteHfConfig(model, {});
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(Read(written->config), model) << first_dense << " " << every;
  }
}

TEST(HfKimi, WhatIsNotServedIsRefusedByName) {
  const auto refuses = [](const std::string& pointer, const json& value, const std::string& what) {
    json config = Published();
    config[json::json_pointer(pointer)] = value;
    const auto read = ReadHfConfig(config);
    EXPECT_FALSE(read.ok()) << pointer;
    EXPECT_TRUE(absl::StrContains(read.status().message(), what)) << read.status();
  };
  refuses("/mla_use_nope", false, "mla_use_nope");
  refuses("/num_key_value_heads", 8, "num_key_value_heads: 8");
  refuses("/linear_attn_config/gate_lower_bound", -6.0, "gate_lower_bound: expected a number in");
  refuses("/attn_res_block_size", 12, "attn_res_block_size");
  refuses("/routed_expert_hidden_size", 3584, "routed_expert_hidden_size");
  refuses("/linear_attn_config/kda_layers", {1, 2, 3}, "layer 5 stands in neither");
  refuses("/linear_attn_config/full_attn_layers", {28}, "28 is not a layer from 1 to 27");
  refuses("/linear_attn_config", nullptr, "linear_attn_config: expected an object");
  refuses("/qk_head_dim", 128, "qk_head_dim: 128");
  refuses("/moe_router_activation_func", "tanh", "moe_router_activation_func");
  refuses("/num_expert_group", 3, "expected a divisor of num_experts 256");
  refuses("/num_experts_per_token", 300, "experts_per_token");
  refuses("/kv_lora_rank", nullptr, "kv_lora_rank: is missing");
  refuses("/hidden_act", "gelu", "hidden_act");
  json types = json::array();
  for (int i = 0; i < 27; ++i) types.push_back(i == 5 ? "dense" : "sparse");
  refuses("/mlp_layer_types", types, "mlp_layer_types");
  refuses("/mlp_layer_types", {"dense"}, "mlp_layer_types: expected 27");
}

TEST(HfKimi, WhatItsConfigCannotHoldIsNotExported) {
  const auto refuses = [](const auto& change, const std::string& what) {
    ModelConfig m = HfTestModelNamed("kimi");
    change(&m);
    const auto written = WriteHfConfig(m, {.family = FindHfFamily("kimi_linear")});
    EXPECT_FALSE(written.ok()) << what;
    EXPECT_TRUE(absl::StrContains(written.status().message(), what)) << written.status();
  };
  const auto mla = [](ModelConfig* m) -> MlaMixerConfig& {
    return *m->mixers["attention_0"].As<MlaMixerConfig>();
  };
  const auto kda = [](ModelConfig* m) -> DeltaMixerConfig& {
    return *m->mixers["mixer"].As<DeltaMixerConfig>();
  };
  refuses([&](ModelConfig* m) { mla(m).rope = true; }, "does not rotate");
  refuses(
      [&](ModelConfig* m) {
        mla(m).output_gate = OutputGate::kSigmoid;
        mla(m).output_gate_scope = OutputGateScope::kHead;
      },
      "output_gate_scope");
  refuses([&](ModelConfig* m) { kda(m).l2_norm_eps = 1e-5; }, "l2_norm_eps");
  refuses([&](ModelConfig* m) { kda(m).decay_rank = DeltaMixerConfig::kFullRank; }, "decay_rank");
  refuses([&](ModelConfig* m) { kda(m).output_gate_rank = 4; }, "output_gate_rank");
  refuses([&](ModelConfig* m) { mla(m).latent_norm_eps = 1e-5; }, "latent_norm_eps");
  refuses([&](ModelConfig* m) { kda(m).output_gate_bias = true; }, "output_gate_bias");
  refuses([&](ModelConfig* m) { kda(m).value_dim = 4; }, "key_dim is its value_dim");
  refuses([&](ModelConfig* m) { m->mixers["attention_0"] = AttentionMixerConfig{.num_heads = 2}; },
          "layer 2 is attention");
  refuses([&](ModelConfig* m) { m->mlp_bias = true; }, "mlp_bias");
}

// ---- folders ----------------------------------------------------------------------------------

std::unique_ptr<Model> MakeModel(const ModelConfig& config) {
  auto model = Model::Create(config, Device::kCpu, DType::kFloat32, false);
  model->Initialize(5);
  for (const ModelBuffer* b : model->buffers()) {
    for (int64_t i = 0; i < b->value.numel(); ++i) {
      b->value.data<float>()[i] = static_cast<float>(0.03 * (i % 3) - 0.02);
    }
  }
  return model;
}

TEST(HfKimi, ARowOfAHeadIsItsKeyThenItsValue) {
  const TemporaryFolder folder;
  const auto model = MakeModel(HfTestModelNamed("kimi"));
  ASSERT_TRUE(SaveHfFolder(model.get(), folder / "out", {}).ok());
  const auto weights = HfWeights::Open(folder / "out");
  ASSERT_TRUE(weights.ok());
  const auto theirs = weights->Read("model.layers.1.self_attn.kv_b_proj.weight");
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  for (const Parameter* p : model->parameters()) {
    if (p->name != "blocks.1.mixer.kv_b_proj.weight") continue;
    const int64_t H = 2, P = 8, V = 6, L = 12;
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t row = 0; row < P + V; ++row) {
        const int64_t ours = row < P ? h * P + row : H * P + h * V + row - P;
        EXPECT_EQ(theirs->data<float>()[(h * (P + V) + row) * L], p->value.data<float>()[ours * L]);
      }
    }
    return;
  }
  FAIL() << "no such parameter";
}

// A folder of a model with experts in many shards.
class HfKimiFolder : public testing::Test {
 protected:
  void SetUp() override {
    ModelConfig config = HfTestModelNamed("kimi");
    config.moe->num_experts = 24;
    config.moe->intermediate_size = 64;
    config.vocab_size = 400;
    model_ = MakeModel(config);
    ASSERT_TRUE(SaveHfFolder(model_.get(), dir_, {.max_shard_bytes = 50'000}).ok());
  }
  absl::Status Import() { return ImportHfFolder(dir_, folder_ / "checkpoint").status(); }
  json Index() { return json::parse(*ReadFile(index_)); }
  // The file that has the tensor, without it.
  void Remove(const std::string& tensor) {
    const std::string path =
        absl::StrCat(dir_, "/", Index()["weight_map"][tensor].get<std::string>());
    Rewrite(path, [&](SafetensorsSpec* spec) { return spec->name != tensor; });
    json index = Index();
    index["weight_map"].erase(tensor);
    ASSERT_TRUE(WriteFileAtomically(index_, index.dump()).ok());
  }
  // `keep` may change the entry; false leaves it out.
  template <class Keep>
  void Rewrite(const std::string& path, const Keep& keep) {
    const auto file = SafetensorsReader::Open(path);
    ASSERT_TRUE(file.ok());
    std::vector<SafetensorsSpec> specs;
    std::vector<std::string> sources;
    for (const auto& [name, entry] : file->tensors()) {
      SafetensorsSpec spec{name, entry.dtype, entry.shape};
      if (!keep(&spec)) continue;
      specs.push_back(spec);
      sources.push_back(name);
    }
    auto writer = SafetensorsWriter::Create(path, specs);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (size_t i = 0; i < specs.size(); ++i) {
      std::string bytes(file->Find(sources[i])->num_bytes(), '\0');
      ASSERT_TRUE(file->Read(sources[i], bytes.data(), bytes.size()).ok());
      ASSERT_TRUE(writer->Write(specs[i].name, bytes.data(), bytes.size()).ok());
    }
    ASSERT_TRUE(writer->Finish().ok());
  }

  const TemporaryFolder folder_;
  const std::string dir_ = folder_ / "model";
  const std::string index_ = folder_ / "model/model.safetensors.index.json";
  std::unique_ptr<Model> model_;
};

TEST_F(HfKimiFolder, ManyShardsPassThroughALittleMemory) {
  int64_t model_bytes = 0, num_shards = 0;
  for (const Parameter* p : model_->parameters()) model_bytes += p->value.nbytes();
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    num_shards += entry.path().extension() == ".safetensors" ? 1 : 0;
  }
  EXPECT_GT(num_shards, 30);
  constexpr int64_t kPiece = 16'000;
  ResetPeakBytes(Device::kCpu);
  const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
  const auto imported = ImportHfFolder(dir_, folder_ / "checkpoint", {.piece_bytes = kPiece});
  ASSERT_TRUE(imported.ok()) << imported.status();
  // A slice as it is read, and as it is written.
  EXPECT_LE(GetMemoryStats(Device::kCpu).peak_bytes - before, 4 * kPiece);
  EXPECT_GT(model_bytes, 60 * kPiece);
  const auto loaded = LoadModel(folder_ / "checkpoint", Device::kCpu, DType::kFloat32);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(TestLogits(loaded->get()), TestLogits(model_.get()));
  const auto ours = model_->buffers(), theirs = (*loaded)->buffers();
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i]->value.ToVector<float>(), theirs[i]->value.ToVector<float>());
  }
}

TEST_F(HfKimiFolder, AMissingExpertIsNamedBeforeAnythingIsWritten) {
  const std::string missing = "model.layers.2.block_sparse_moe.experts.17.w2.weight";
  Remove(missing);
  const absl::Status status = Import();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), missing)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "of-000")) << status;  // a shard's name
  EXPECT_FALSE(std::filesystem::exists(folder_ / "checkpoint"));
}

TEST_F(HfKimiFolder, AnOddShapeIsNamedWithItsFile) {
  const std::string odd = "model.layers.3.block_sparse_moe.experts.5.w1.weight";
  const auto file = Index()["weight_map"][odd].get<std::string>();
  Rewrite(absl::StrCat(dir_, "/", file), [&](SafetensorsSpec* spec) {
    if (spec->name == odd) std::swap(spec->shape[0], spec->shape[1]);
    return true;
  });
  const absl::Status status = Import();
  EXPECT_TRUE(absl::StrContains(status.message(), odd)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), file)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "[32, 64]")) << status;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "checkpoint"));
}

TEST_F(HfKimiFolder, DenseLayersAreReadUnderTheNameThatTransformersWrites) {
  const std::vector<float> expected = TestLogits(model_.get());
  json index = Index();
  int renamed = 0;
  for (const char* part : {"gate_proj", "up_proj", "down_proj"}) {
    const std::string old_name = absl::StrCat("model.layers.0.mlp.", part, ".weight"),
                      new_name = absl::StrCat("model.layers.0.block_sparse_moe.", part, ".weight");
    const auto file = index["weight_map"][old_name].get<std::string>();
    Rewrite(absl::StrCat(dir_, "/", file), [&](SafetensorsSpec* spec) {
      if (spec->name == old_name) {
        spec->name = new_name;
        ++renamed;
      }
      return true;
    });
    index["weight_map"].erase(old_name);
    index["weight_map"][new_name] = file;
  }
  EXPECT_EQ(renamed, 3);
  ASSERT_TRUE(WriteFileAtomically(index_, index.dump()).ok());
  const auto loaded = LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(TestLogits(loaded->model.get()), expected);
}

}  // namespace
}  // namespace wyvern
