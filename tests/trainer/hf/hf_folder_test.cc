#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "tests/trainer/hf/hf_models.h"
#include "trainer/hf/import_folder.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

std::unique_ptr<Model> MakeModel(const std::string& name) {
  auto model = Model::Create(HfTestModelNamed(name), Device::kCpu, DType::kFloat32, false);
  model->Initialize(11);
  // Biases and gains that start as 0 and 1 would hide a swap.
  for (const Parameter* p : model->parameters()) {
    if (p->kind != ParameterKind::kBias && p->kind != ParameterKind::kNorm) continue;
    const Random random(12, p->name);
    for (int64_t i = 0; i < p->value.numel(); ++i) {
      p->value.data<float>()[i] += static_cast<float>(0.3 * random.Normal(i));
    }
  }
  return model;
}

// The logits of the folder's model; empty, with a failure, if it cannot be loaded.
std::vector<float> FolderLogits(const std::string& dir) {
  const auto loaded = LoadHfFolder(dir, Device::kCpu, DType::kFloat32, false);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? TestLogits(loaded->model.get()) : std::vector<float>();
}

class HfFolderRoundTrip : public testing::TestWithParam<std::string> {};

TEST_P(HfFolderRoundTrip, ExportedAndImportedLogitsAreIdentical) {
  const TemporaryFolder folder;
  const auto model = MakeModel(GetParam());
  const std::vector<float> expected = TestLogits(model.get());
  ASSERT_TRUE(SaveHfFolder(model.get(), folder / "one", {}).ok());
  EXPECT_EQ(FolderLogits(folder / "one"), expected);
  const absl::Status sharded =
      SaveHfFolder(model.get(), folder / "sharded", {.max_shard_bytes = 60000});
  ASSERT_TRUE(sharded.ok()) << sharded;
  EXPECT_FALSE(std::filesystem::exists(folder / "sharded/model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(folder / "sharded/model.safetensors.index.json"));
  EXPECT_EQ(FolderLogits(folder / "sharded"), expected);
}

INSTANTIATE_TEST_SUITE_P(All, HfFolderRoundTrip, testing::ValuesIn(HfTestModelNames()),
                         [](const auto& info) { return info.param; });

TEST(HfFolder, ABiasWithoutAPlaceMustBeZero) {
  const TemporaryFolder folder;
  const auto model = Model::Create(HfTestModelNamed("qwen3_next"), Device::kCpu, DType::kFloat32);
  model->Initialize(1);
  model->buffers().front()->value.data<float>()[1] = 0.5F;
  const absl::Status status = SaveHfFolder(model.get(), folder / "out", {});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "moe.router.bias is not zero")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "train.balance_rate: 0")) << status;
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

TEST(HfFolder, TiedHeadsAreLeftOutAndBf16IsRounded) {
  const TemporaryFolder folder;
  const auto model = MakeModel("delta_net");
  ASSERT_TRUE(SaveHfFolder(model.get(), folder / "bf16", {.config = {.dtype = "bfloat16"}}).ok());
  const auto weights = HfWeights::Open(folder / "bf16");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_FALSE(weights->Has("lm_head.weight"));
  const auto loaded = LoadHfFolder(folder / "bf16", Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->model->config().padding_id, 3);
  const auto ours = model->parameters(), theirs = loaded->model->parameters();
  for (size_t i = 0; i < ours.size(); ++i) {
    const auto a = ours[i]->value.ToVector<float>(), b = theirs[i]->value.ToVector<float>();
    for (size_t j = 0; j < a.size(); ++j) ASSERT_EQ(ToFloat(ToBf16(a[j])), b[j]) << ours[i]->name;
  }
}

// The tensors of a folder's single file, to be written again with changes.
struct RawTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

std::map<std::string, RawTensor> ReadRaw(const std::string& path) {
  const auto file = SafetensorsReader::Open(path);
  std::map<std::string, RawTensor> tensors;
  for (const auto& [name, entry] : file->tensors()) {
    RawTensor& t = tensors[name];
    t = {entry.dtype, entry.shape, std::string(entry.num_bytes(), '\0')};
    EXPECT_TRUE(file->Read(name, t.bytes.data(), t.bytes.size()).ok());
  }
  return tensors;
}

void WriteRaw(const std::string& path, const std::map<std::string, RawTensor>& tensors) {
  std::vector<SafetensorsSpec> specs;
  for (const auto& [name, t] : tensors) specs.push_back({name, t.dtype, t.shape});
  auto writer = SafetensorsWriter::Create(path, specs);
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (const auto& [name, t] : tensors) {
    ASSERT_TRUE(writer->Write(name, t.bytes.data(), t.bytes.size()).ok());
  }
  ASSERT_TRUE(writer->Finish().ok());
}

// ---- tied heads, as transformers 5 treats them ------------------------------------------------

class TiedHeadTest : public testing::Test {
 protected:
  void Save(const std::string& model, const std::string& embedding) {
    model_ = MakeModel(model);
    embedding_ = embedding;
    ASSERT_TRUE(SaveHfFolder(model_.get(), dir_, {}).ok());
    tensors_ = ReadRaw(file_);
  }
  // Each number of the head, fp32, is this many times the embedding's.
  void AddHead(float factor) {
    RawTensor head = tensors_.at(embedding_);
    auto* numbers = reinterpret_cast<float*>(head.bytes.data());
    for (size_t i = 0; i < head.bytes.size() / sizeof(float); ++i) numbers[i] *= factor;
    tensors_["lm_head.weight"] = head;
    WriteRaw(file_, tensors_);
  }

  const TemporaryFolder folder_;
  const std::string dir_ = folder_ / "model";
  const std::string file_ = folder_ / "model/model.safetensors";
  std::unique_ptr<Model> model_;
  std::string embedding_;
  std::map<std::string, RawTensor> tensors_;
};

TEST_F(TiedHeadTest, AnEqualHeadOrTheHeadAloneIsTied) {
  Save("delta_net", "model.embeddings.weight");
  const std::vector<float> expected = TestLogits(model_.get());
  AddHead(1);
  EXPECT_EQ(FolderLogits(dir_), expected);
  tensors_.erase(embedding_);
  WriteRaw(file_, tensors_);
  const auto loaded = LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->model->config().tie_embeddings);
  EXPECT_TRUE(loaded->warnings.empty());
  EXPECT_EQ(TestLogits(loaded->model.get()), expected);
}

TEST_F(TiedHeadTest, ADifferingHeadIsKeptAndNamed) {
  Save("delta_net", "model.embeddings.weight");
  std::vector<float> expected = TestLogits(model_.get());
  for (float& logit : expected) logit *= 2;  // exact
  AddHead(2);
  const auto loaded = LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_FALSE(loaded->model->config().tie_embeddings);
  ASSERT_EQ(loaded->warnings.size(), 1u);
  EXPECT_TRUE(absl::StrContains(loaded->warnings[0], "lm_head.weight differs from"));
  EXPECT_EQ(TestLogits(loaded->model.get()), expected);
  const auto imported = ImportHfFolder(dir_, folder_ / "checkpoint");
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_FALSE(imported->model.tie_embeddings);
  EXPECT_EQ(imported->warnings, loaded->warnings);
  // And leaves again as it is.
  ASSERT_TRUE(SaveHfFolder(loaded->model.get(), folder_ / "again", {}).ok());
  EXPECT_EQ(FolderLogits(folder_ / "again"), expected);
}

TEST_F(TiedHeadTest, KimiLinearIsTiedOnlyWithoutAHead) {
  ModelConfig config = HfTestModelNamed("kimi");
  config.tie_embeddings = true;
  const auto model = Model::Create(config, Device::kCpu, DType::kFloat32, false);
  model->Initialize(11);
  const std::vector<float> expected = TestLogits(model.get());
  ASSERT_TRUE(SaveHfFolder(model.get(), dir_, {}).ok());
  EXPECT_EQ(FolderLogits(dir_), expected);
  EXPECT_FALSE(ReadHfConfigFile(dir_)->model.tie_embeddings);
  nlohmann::json json = *ReadJsonFile(dir_ + "/config.json");
  json["tie_word_embeddings"] = true;
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/config.json", JsonText(json)).ok());
  const auto loaded = LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_FALSE(loaded->model->config().tie_embeddings);
  EXPECT_EQ(loaded->warnings.size(), 1u);
  // Without a head transformers has none at all, the published code the embedding.
  tensors_ = ReadRaw(file_);
  tensors_.erase("lm_head.weight");
  WriteRaw(file_, tensors_);
  const auto alone = LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_TRUE(alone->model->config().tie_embeddings);
  EXPECT_EQ(TestLogits(alone->model.get()), expected);
}

// Qwen3.5 as it is published: a model of images and text, of which the language model is read.
TEST(ImagesAndTextTest, TheLanguageModelIsReadAlone) {
  const std::string source = "tests/trainer/hf/reference/qwen3_5-tied";
  const auto text = LoadHfFolder(source, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(text.ok()) << text.status();
  const TemporaryFolder folder;
  std::map<std::string, RawTensor> tensors;
  for (auto& [name, tensor] : ReadRaw(source + "/model.safetensors")) {
    ASSERT_TRUE(absl::StartsWith(name, "model.")) << name;
    tensors[absl::StrCat("model.language_model.", name.substr(6))] = tensor;
  }
  const RawTensor any = tensors.begin()->second;
  tensors["model.visual.patch_embed.proj.weight"] = any;
  tensors["mtp.norm.weight"] = any;
  WriteRaw(folder / "model.safetensors", tensors);
  nlohmann::json inner = *ReadJsonFile(source + "/config.json");
  inner.erase("tie_word_embeddings");
  nlohmann::json config = {{"model_type", "qwen3_5"},
                           {"architectures", {"Qwen3_5ForConditionalGeneration"}},
                           {"text_config", inner},
                           {"vision_config", {{"model_type", "qwen3_5_vision"}, {"depth", 2}}},
                           {"image_token_id", 30},
                           {"tie_word_embeddings", true}};
  const auto load = [&] {
    EXPECT_TRUE(WriteFileAtomically(folder / "config.json", JsonText(config)).ok());
    return LoadHfFolder(folder / ".", Device::kCpu, DType::kFloat32, false);
  };
  const auto both = load();
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->model->config(), text->model->config());
  EXPECT_EQ(TestLogits(both->model.get()), TestLogits(text->model.get()));
  ASSERT_EQ(both->warnings.size(), 1u);
  EXPECT_TRUE(
      absl::StrContains(both->warnings[0], "of this \"qwen3_5\" the language model alone is read"))
      << both->warnings[0];
  EXPECT_FALSE(both->kept.contains("image_token_id"));
  // It leaves as a language model.
  EXPECT_TRUE(SaveHfFolder(both->model.get(), folder / "out", {}).ok());
  EXPECT_EQ(FolderLogits(folder / "out"), TestLogits(text->model.get()));
  const auto refuses = [&](const nlohmann::json& changed, const char* what) {
    config = changed;
    EXPECT_TRUE(absl::StrContains(load().status().message(), what)) << load().status();
  };
  const nlohmann::json good = config;
  nlohmann::json bad = good;
  bad["text_config"]["head_dim"] = "eight";
  refuses(bad, "text_config.head_dim: ");
  bad = good;
  bad["text_config"]["model_type"] = "llama";
  refuses(bad, "text_config.model_type: expected \"qwen3_5_text\"");
  bad["text_config"] = "none";
  refuses(bad, "text_config: expected an object, the keys of the language model");
  bad.erase("text_config");
  refuses(bad, "; it is missing");
  bad = good;
  bad["quantization_config"] = {{"quant_method", "fp8"}};
  refuses(bad, "quantization_config");
  bad = good;
  bad["model_type"] = "qwen9";
  refuses(bad, "\"qwen9\" is not supported");
  // Neither of two values of one tensor is taken for the other.
  tensors["model.norm.weight"] = any;
  WriteRaw(folder / "model.safetensors", tensors);
  refuses(good, ", which are one tensor; remove one of them");
}

class HfFolderDamage : public testing::Test {
 protected:
  void SetUp() override {
    model_ = MakeModel("gated_hybrid");
    ASSERT_TRUE(SaveHfFolder(model_.get(), dir_, {}).ok());
  }
  absl::Status Load() { return LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false).status(); }
  void ExpectError(const std::string& what) {
    const absl::Status status = Load();
    EXPECT_FALSE(status.ok()) << what;
    EXPECT_TRUE(absl::StrContains(status.message(), what)) << what << " in: " << status;
  }

  const TemporaryFolder folder_;
  const std::string dir_ = folder_ / "model";
  const std::string file_ = folder_ / "model/model.safetensors";
  std::unique_ptr<Model> model_;
};

TEST_F(HfFolderDamage, PackedGateAndUpOfOldCheckpointsAreRead) {
  auto tensors = ReadRaw(file_);
  for (int layer = 0; layer < 4; ++layer) {
    const std::string stem = absl::StrCat("model.layers.", layer, ".mlp.");
    RawTensor& gate = tensors[stem + "gate_proj.weight"];
    gate.bytes += tensors[stem + "up_proj.weight"].bytes;
    gate.shape[0] *= 2;
    tensors.erase(stem + "up_proj.weight");
  }
  WriteRaw(file_, tensors);
  EXPECT_EQ(FolderLogits(dir_), TestLogits(model_.get()));
}

TEST_F(HfFolderDamage, HalfPrecisionIsRead) {
  auto tensors = ReadRaw(file_);
  // 1.5, -2^-24 (the least subnormal) and 65504 (the largest) in fp16.
  RawTensor& norm = tensors["model.norm.weight"];
  norm.dtype = "F16";
  norm.bytes.clear();
  for (int i = 0; i < 32; ++i) {
    const uint16_t halves[] = {0x3e00, 0x8001, 0x7bff};
    norm.bytes.append(reinterpret_cast<const char*>(&halves[i % 3]), 2);
  }
  WriteRaw(file_, tensors);
  const auto weights = HfWeights::Open(dir_);
  const auto values = weights->Read("model.norm.weight");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(values->data<float>()[0], 1.5f);
  EXPECT_EQ(values->data<float>()[1], -0x1p-24f);
  EXPECT_EQ(values->data<float>()[2], 65504.0f);
  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(HfFolderDamage, MissingExtraAndMisshapenTensorsAreNamed) {
  const auto tensors = ReadRaw(file_);
  auto changed = tensors;
  changed.erase("model.layers.1.attn.A_log");
  WriteRaw(file_, changed);
  ExpectError("lack the tensor model.layers.1.attn.A_log");
  changed = tensors;
  changed["model.layers.0.attn.q_proj.scales"] = {"F32", {1}, std::string(4, '\0')};
  WriteRaw(file_, changed);
  ExpectError("model.layers.0.attn.q_proj.scales has no place");
  changed = tensors;
  std::swap(changed["model.layers.1.attn.q_proj.weight"].shape[0],
            changed["model.layers.1.attn.q_proj.weight"].shape[1]);
  WriteRaw(file_, changed);
  ExpectError("model.layers.1.attn.q_proj.weight has shape [32, 24]");
  changed = tensors;
  changed["model.norm.weight"].dtype = "I32";
  WriteRaw(file_, changed);
  ExpectError("model.norm.weight has element type I32");
}

TEST_F(HfFolderDamage, NumbersThatAreNotFiniteAreNamed) {
  const auto clean = ImportHfFolder(dir_, folder_ / "clean", {.piece_bytes = 64});
  ASSERT_TRUE(clean.ok()) << clean.status();
  EXPECT_TRUE(clean->warnings.empty());
  auto tensors = ReadRaw(file_);
  const float nan = std::nanf(""), infinity = INFINITY;
  std::string& norm = tensors["model.norm.weight"].bytes;
  std::memcpy(norm.data() + norm.size() - sizeof(float), &nan, sizeof(float));
  std::memcpy(tensors["model.layers.1.attn.q_proj.weight"].bytes.data() + 400, &infinity,
              sizeof(float));
  WriteRaw(file_, tensors);
  const auto imported = ImportHfFolder(dir_, folder_ / "checkpoint", {.piece_bytes = 64});
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->warnings,
            (std::vector<std::string>{
                file_ + ": model.layers.1.attn.q_proj.weight holds numbers that are not finite in "
                        "fp32",
                file_ + ": model.norm.weight holds numbers that are not finite in fp32"}));
}

TEST_F(HfFolderDamage, TruncatedFilesAreErrors) {
  const auto whole = ReadFile(file_);
  ASSERT_TRUE(whole.ok());
  for (const size_t size :
       {size_t{0}, size_t{7}, size_t{100}, whole->size() / 2, whole->size() - 1}) {
    ASSERT_TRUE(WriteFileAtomically(file_, whole->substr(0, size)).ok());
    ExpectError("model.safetensors");
  }
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/config.json", "{\"model_type\": ").ok());
  ExpectError("config.json: byte 16: this is not JSON");
}

TEST_F(HfFolderDamage, AFlippedBitOfTheHeaderIsAnErrorOrHarmless) {
  const std::vector<float> expected = TestLogits(model_.get());
  const auto whole = ReadFile(file_);
  ASSERT_TRUE(whole.ok());
  uint64_t header = 0;
  std::memcpy(&header, whole->data(), 8);
  int num_errors = 0, num_flips = 0;
  for (size_t byte = 0; byte < 8 + header; byte += 53) {
    std::string damaged = *whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << (byte % 8)));
    ASSERT_TRUE(WriteFileAtomically(file_, damaged).ok());
    const auto loaded = LoadHfFolder(dir_, Device::kCpu, DType::kFloat32, false);
    ++num_flips;
    if (loaded.ok()) {
      EXPECT_EQ(TestLogits(loaded->model.get()), expected) << "byte " << byte;
    } else {
      ++num_errors;
      EXPECT_TRUE(absl::StrContains(loaded.status().message(), dir_)) << loaded.status();
    }
  }
  EXPECT_GT(num_errors, num_flips * 3 / 4);
}

TEST_F(HfFolderDamage, DamagedIndexesAreErrors) {
  std::filesystem::remove(file_);
  ExpectError("found neither");
  const std::string index = dir_ + "/model.safetensors.index.json";
  for (const auto& [content, what] : std::vector<std::pair<std::string, std::string>>{
           {"{", "this is not JSON"},
           {R"({"weight_map": {"a": ".."}})", "a does not name a file"},
           {R"({"weight_map": {"a": ""}})", "a does not name a file"},
           {R"({"weight_map": {"a": ["x"]}})", "a does not name a file"},
           {R"({"weight_map": )" + std::string(100'000, '['), "nested too deeply"},
           {"{}", "no weight_map"},
           {R"({"weight_map": {"a": "../model.safetensors"}})", "a does not name a file"},
           {R"({"weight_map": {"a": "part.safetensors"}})", "part.safetensors"}}) {
    ASSERT_TRUE(WriteFileAtomically(index, content).ok());
    ExpectError(what);
  }
}

// A configuration of a few bytes can name a model that no memory holds.
TEST_F(HfFolderDamage, ConfigurationsAreComparedBeforeMemoryIsTaken) {
  const std::string path = dir_ + "/config.json";
  const nlohmann::json config = nlohmann::json::parse(*ReadFile(path));
  const auto change = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = config;
    changed[key] = value;
    ASSERT_TRUE(WriteFileAtomically(path, changed.dump()).ok());
  };
  change("num_hidden_layers", 10'000'000);
  ExpectError("model.num_layers: expected at most 4096, got 10000000");
  change("num_hidden_layers", 4096);
  ExpectError("config.json speaks of 4096 layers, but the weights have");
  change("hidden_size", 512);
  ExpectError("config.json makes it");
  change("num_heads", int64_t{1} << 62);
  ExpectError("num_heads: expected at most 16384");
  change("num_heads", std::numeric_limits<uint64_t>::max());
  ExpectError("num_heads: expected an integer, got 18446744073709551615");
  change("intermediate_size", int64_t{1} << 62);
  ExpectError("intermediate_size: expected at most");
  ASSERT_TRUE(WriteFileAtomically(path, "{\"x\": " + std::string(100'000, '[')).ok());
  ExpectError("config.json: byte 70: the JSON is nested too deeply");
}

// As a hub's cache lays it out: the names in the folder are links into another one.
TEST_F(HfFolderDamage, LinksToFilesElsewhereAreFollowed) {
  std::filesystem::create_directory(folder_ / "blobs");
  for (const char* name : {"model.safetensors", "config.json"}) {
    std::filesystem::rename(dir_ + "/" + name, folder_ / absl::StrCat("blobs/", name));
    std::filesystem::create_symlink(absl::StrCat("../blobs/", name), dir_ + "/" + name);
  }
  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(HfFolderDamage, ExportReplacesNothing) {
  EXPECT_TRUE(absl::IsAlreadyExists(SaveHfFolder(model_.get(), dir_, {})));
  EXPECT_TRUE(Load().ok());
  EXPECT_FALSE(SaveHfFolder(model_.get(), folder_ / "model/config.json/x", {}).ok());
}

}  // namespace
}  // namespace wyvern
