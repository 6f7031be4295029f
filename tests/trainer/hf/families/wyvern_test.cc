// The family that holds any model, without its Python: what its folders consist of.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "tests/trainer/hf/wyvern_models.h"
#include "trainer/config/model_json.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

constexpr char kModeling[] = "integrations/transformers/modeling_wyvern.py";

HfExportOptions AsWyvern() { return {.config = {.family = FindHfFamily("wyvern")}}; }

nlohmann::json ConfigOf(const ModelConfig& model) {
  const auto written = WriteHfConfig(model, AsWyvern().config);
  EXPECT_TRUE(written.ok()) << written.status();
  return written.ok() ? written->config : nlohmann::json();
}

TEST(WyvernFamily, EveryModelIsReadAsItWasWritten) {
  for (const auto& [name, model] : WyvernTestModels()) {
    const nlohmann::json config = ConfigOf(model);
    const auto read = ReadHfConfig(config);
    ASSERT_TRUE(read.ok()) << name << ": " << read.status();
    EXPECT_TRUE(read->warnings.empty()) << name << ": " << read->warnings.front();
    ModelConfig expected = model;
    if (model.mlp) expected.intermediate_size = model.IntermediateSize();
    EXPECT_TRUE(read->model == expected) << name;
  }
}

TEST(WyvernFamily, TheCodeBesideTheWeightsIsThatOfTheSource) {
  const auto source = ReadFile(kModeling);
  ASSERT_TRUE(source.ok()) << source.status();
  const auto files = FindHfFamily("wyvern")->files(ConfigOf(WyvernTestModelNamed("quickstart")));
  EXPECT_TRUE(files.at("modeling_wyvern.py") == *source);
}

TEST(WyvernFamily, TheCodeIsPython) {
  const TemporaryFolder folder;
  if (std::system("python3 --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no python3";
  const std::string command =
      absl::StrCat("python3 -c \"import py_compile; py_compile.compile('", kModeling, "', '",
                   folder / "x.pyc", "', doraise=True)\"");
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(WyvernFamily, AFolderHoldsCodeConfigurationAndWeightsUnderOurNames) {
  const TemporaryFolder folder;
  const auto model = MakeUnevenModel(WyvernTestModelNamed("experts"));
  HfExportOptions options = AsWyvern();
  options.config.keep = {{"bos_token_id", 1}, {"eos_token_id", 5}};
  ASSERT_TRUE(SaveHfFolder(model.get(), folder / "out", options).ok());
  const auto config = ReadJsonFile(folder / "out/config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ((*config)["model_type"], "wyvern");
  EXPECT_EQ((*config)["architectures"], nlohmann::json({"WyvernForCausalLM"}));
  EXPECT_EQ((*config)["num_hidden_layers"], 6);
  EXPECT_EQ((*config)["wyvern"]["mixers"]["mixer"]["type"], "gated_delta_net");
  EXPECT_FALSE((*config)["wyvern"].contains("vocab_size"));
  const auto code = ReadFile(folder / "out/modeling_wyvern.py");
  ASSERT_TRUE(code.ok()) << code.status();
  for (const auto& [key, value] : (*config)["auto_map"].items()) {
    const std::string name = value.get<std::string>().substr(sizeof("modeling_wyvern.") - 1);
    EXPECT_TRUE(absl::StrContains(*code, absl::StrCat("class ", name, "("))) << key;
  }
  EXPECT_EQ(*ReadJsonFile(folder / "out/generation_config.json"),
            nlohmann::json({{"bos_token_id", 1}, {"eos_token_id", 5}, {"pad_token_id", 2}}));
  const auto weights = HfWeights::Open(folder / "out");
  ASSERT_TRUE(weights.ok()) << weights.status();
  std::set<std::string> expected = {"model.embed_tokens.weight", "model.norm.weight",
                                    "lm_head.weight"};
  const auto expect_of_block = [&](const std::string& name) {
    if (absl::StartsWith(name, "blocks.")) expected.insert("model.layers" + name.substr(6));
  };
  for (const Parameter* p : model->parameters()) expect_of_block(p->name);
  for (const ModelBuffer* b : model->buffers()) expect_of_block(b->name);
  const std::vector<std::string> names = weights->names();
  const std::set<std::string> found(names.begin(), names.end());
  EXPECT_EQ(found, expected);
}

TEST(WyvernFamily, WeightsComeBackBitForBit) {
  for (const auto& [name, config] : WyvernTestModels()) {
    const TemporaryFolder folder;
    const auto model = MakeUnevenModel(config);
    HfExportOptions options = AsWyvern();
    options.max_shard_bytes = 60000;
    ASSERT_TRUE(SaveHfFolder(model.get(), folder / "out", options).ok()) << name;
    const auto loaded = LoadHfFolder(folder / "out", Device::kCpu, DType::kFloat32, false);
    ASSERT_TRUE(loaded.ok()) << name << ": " << loaded.status();
    std::map<std::string, std::vector<float>> expected, found;
    const auto gather = [](Model* from, std::map<std::string, std::vector<float>>* to) {
      for (const Parameter* p : from->parameters()) (*to)[p->name] = p->value.ToVector<float>();
      for (const ModelBuffer* b : from->buffers()) (*to)[b->name] = b->value.ToVector<float>();
    };
    gather(model.get(), &expected);
    gather(loaded->model.get(), &found);
    EXPECT_TRUE(found == expected) << name;
  }
}

TEST(WyvernFamily, FaultsOfTheSectionNameTheKey) {
  const nlohmann::json good = ConfigOf(WyvernTestModelNamed("everything"));
  const auto expect = [](const nlohmann::json& config, const std::string& message) {
    const auto read = ReadHfConfig(config);
    EXPECT_TRUE(absl::StrContains(read.status().message(), message)) << read.status();
  };
  nlohmann::json c = good;
  c["wyvern"]["mixers"]["mixer"]["novelty"] = 1;
  expect(c, "novelty: unknown key");
  c = good;
  c["wyvern"]["mixers"]["mixer"].erase("key_dim");
  expect(c, "key_dim: the key is missing");
  c = good;
  c["wyvern"]["vocab_size"] = 7;
  expect(c, "vocab_size stands outside of this section");
  c = good;
  c.erase("wyvern");
  expect(c, "wyvern: expected an object");
  c = good;
  c["hidden_size"] = 0;
  expect(c, "hidden_size");
  c = good;
  c["wyvern"]["pattern"] = {"absent"};
  expect(c, "absent");
}

// modeling_wyvern.py must serve every key: what its tests never change, they do not see.
TEST(WyvernFamily, TheTestModelsTryOtherValuesOfEveryKey) {
  std::map<std::string, std::vector<nlohmann::json>> sections;
  std::set<std::string> types;
  for (const auto& [name, model] : WyvernTestModels()) {
    nlohmann::json keys = ModelConfigToJson(model);
    for (const nlohmann::json& mixer : keys["mixers"]) {
      const auto type = mixer["type"].get<std::string>();
      types.insert(type);
      // The delta rules share their keys.
      const bool delta = type == "delta_net" || type == "gated_delta_net" || type == "kda";
      sections[delta ? "delta" : type].push_back(mixer);
    }
    if (keys.contains("moe")) sections["moe"].push_back(keys["moe"]);
    for (const char* structure : {"mixers", "pattern", "at", "moe"}) keys.erase(structure);
    sections["model"].push_back(keys);
  }
  for (const MixerType& type : MixerTypes()) {
    const bool served = WhyNotAs(*FindHfFamily("wyvern"), HfTestModel(type.defaults)).empty();
    EXPECT_EQ(types.count(type.name) > 0, served)
        << type.name << " is served, but in no model of wyvern_models.h, or the reverse";
  }
  // Sizes that all these small models share, and a key that only training reads.
  const std::set<std::string> alike = {"model.vocab_size", "model.hidden_size",
                                       "model.initializer_range"};
  for (const auto& [section, all] : sections) {
    std::set<std::string> names;
    for (const nlohmann::json& keys : all) {
      for (const auto& [key, value] : keys.items()) names.insert(key);
    }
    names.erase("type");
    for (const std::string& key : names) {
      std::set<std::string> values;
      for (const nlohmann::json& keys : all) {
        values.insert(keys.contains(key) ? JsonText(keys[key]) : "left out");
      }
      const std::string full = absl::StrCat(section, ".", key);
      EXPECT_TRUE(values.size() > 1 || alike.count(full) > 0)
          << full << " is always " << *values.begin() << " in wyvern_models.h";
    }
  }
}

}  // namespace
}  // namespace wyvern
