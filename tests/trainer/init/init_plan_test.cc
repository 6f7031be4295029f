// A model that begins with the weights of another one: which of them it takes, bit for bit.
#include "trainer/init/init_plan.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/status.h"
#include "tests/support/golden.h"
#include "tests/trainer/hf/hf_models.h"
#include "tests/trainer/saved_model.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/checkpoint/sharded_state.h"
#include "trainer/hf/load_folder.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

using Values = std::map<std::string, std::vector<float>>;

Values ValuesOf(Model* model) {
  Values values;
  for (const Parameter* p : model->parameters()) values[p->name] = p->value.ToVector<float>();
  for (const ModelBuffer* b : model->buffers()) values[b->name] = b->value.ToVector<float>();
  return values;
}

std::unique_ptr<Model> Initialized(const ModelConfig& config, uint64_t seed) {
  auto model = Model::Create(config, Device::kCpu, DType::kFloat32);
  model->Initialize(seed);
  // Buffers start at zero, which would hide one that is not read.
  for (const ModelBuffer* b : model->buffers()) {
    b->value.FillZero();
    for (int64_t i = 0; i < b->value.numel(); ++i) {
      b->value.data<float>()[i] = static_cast<float>(seed) + 0.25F * static_cast<float>(i);
    }
  }
  return model;
}

class InitPlanTest : public testing::Test {
 protected:
  // A checkpoint of the model as a run writes it.
  std::string Save(Model* model) {
    const std::string run = folder_ / absl::StrCat("run", ++num_runs_);
    EXPECT_TRUE(SaveRun(run, 7, {.model = model}).ok());
    return run;
  }

  // Writes what fits of the parent at `path` into the model, or returns why that is refused.
  static absl::StatusOr<InitPlan> Load(const std::string& path, const TrainSection& rules,
                                       Model* model) {
    ASSIGN_OR_RETURN(const std::unique_ptr<ParentWeights> parent, ParentWeights::Open(path));
    ASSIGN_OR_RETURN(InitPlan plan, PlanInit(*parent, rules, model));
    RETURN_IF_ERROR(LoadInit(*parent, plan, Optimizer(model, {}), model));
    return plan;
  }

  static std::string Refusal(const std::string& path, const TrainSection& rules, Model* model) {
    const Values before = ValuesOf(model);
    const absl::StatusOr<InitPlan> plan = Load(path, rules, model);
    EXPECT_FALSE(plan.ok());
    EXPECT_EQ(ValuesOf(model), before);
    return std::string(plan.status().message());
  }

  const TemporaryFolder folder_;
  int num_runs_ = 0;
};

ModelConfig WithExperts() {
  ModelConfig config = TinyConfig(53);
  config.moe = MoeConfig{.num_experts = 4, .experts_per_token = 2, .intermediate_size = 20};
  return config;
}

TEST_F(InitPlanTest, ACheckpointGivesEveryValue) {
  for (const ModelConfig& config : {TinyConfig(53), WithExperts()}) {
    const auto parent = Initialized(config, 3), model = Initialized(config, 4);
    ASSERT_NE(ValuesOf(model.get()), ValuesOf(parent.get()));
    const auto plan = Load(Save(parent.get()), {}, model.get());
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->lines, std::vector<std::string>());
    EXPECT_EQ(plan->taken.size(), parent->parameters().size() + parent->buffers().size());
    EXPECT_EQ(ValuesOf(model.get()), ValuesOf(parent.get()));
  }
}

TEST_F(InitPlanTest, AFolderOfEveryFamilyGivesEveryValue) {
  for (const std::string& name : HfTestModelNames()) {
    SCOPED_TRACE(name);
    const ModelConfig config = HfTestModelNamed(name);
    const auto parent = Initialized(config, 3), model = Initialized(config, 4);
    ZeroWhatFoldersLeaveOut(parent.get());
    const absl::Status saved =
        SaveHfFolder(parent.get(), folder_ / name, {.max_shard_bytes = 60000});
    ASSERT_TRUE(saved.ok()) << saved;
    const auto plan = Load(folder_ / name, {}, model.get());
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->lines, std::vector<std::string>());
    EXPECT_EQ(ValuesOf(model.get()), ValuesOf(parent.get()));
  }
}

TEST_F(InitPlanTest, AFolderHasTheTokenizerThatItsPathGives) {
  const std::string name = "llama", dir = folder_ / name;
  const std::string tokenizer = R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁"},
      "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -2.5]]}})";
  const auto model = Initialized(HfTestModelNamed(name), 3);
  const absl::Status saved =
      SaveHfFolder(model.get(), dir, {.more_files = {{"tokenizer.json", tokenizer}}});
  ASSERT_TRUE(saved.ok()) << saved;
  const auto parent = ParentWeights::Open(dir);
  ASSERT_TRUE(parent.ok()) << parent.status();
  const auto named = LoadTokenizer(dir);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ((*parent)->tokenizer_hash(), (*named)->hash());
  EXPECT_TRUE(
      absl::StrContains(OpenCheckpoint(dir).status().message(), "wyvern import makes one of it"));
}

TEST_F(InitPlanTest, AFolderOfAnotherLibraryGivesTheValuesOfAnImport) {
  const std::string dir = GoldenFolder() + "/hf/fla-delta_net-swa";
  if (!std::filesystem::is_directory(dir)) GTEST_SKIP() << "no golden folder hf/fla-delta_net-swa";
  const auto imported = LoadHfFolder(dir, Device::kCpu, DType::kFloat32, false);
  ASSERT_TRUE(imported.ok()) << imported.status();
  const auto model = Initialized(imported->model->config(), 4);
  const auto plan = Load(dir, {}, model.get());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(ValuesOf(model.get()), ValuesOf(imported->model.get()));
}

TEST_F(InitPlanTest, TensorsThatAreMissingAreNamedOrDrawn) {
  ModelConfig config = TinyConfig(53);
  const auto parent = Initialized(config, 3);
  const std::string run = Save(parent.get());
  config.num_layers = 5;                                              // blocks.4 is new
  config.mixers["kda"].As<DeltaMixerConfig>()->output_gate_rank = 8;  // blocks.2 has another shape
  const auto model = Initialized(config, 4);
  const std::string refusal = Refusal(run, {}, model.get());
  EXPECT_TRUE(absl::StrContains(refusal,
                                "blocks.4.mixer.q_proj.weight [32, 32]: they lack it "
                                "(train.init_missing: init draws it)"))
      << refusal;
  EXPECT_TRUE(absl::StrContains(refusal, ": [16, 32] there, [8, 32] here")) << refusal;
  EXPECT_FALSE(absl::StrContains(refusal, "blocks.1")) << refusal;

  Values expected = ValuesOf(model.get());
  const auto plan = Load(run, {.init_missing = MismatchRule::kAllow}, model.get());
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::string lines = absl::StrJoin(plan->lines, "\n");
  EXPECT_TRUE(
      absl::StrContains(lines, "blocks.4.mixer.q_proj.weight [32, 32]: they lack it: drawn"))
      << lines;
  EXPECT_TRUE(absl::StrContains(lines, "num_layers: 4 there, 5 here")) << lines;
  EXPECT_TRUE(absl::StrContains(lines, "layer 3, mixer: output_gate_rank: 16 there, 8 here"))
      << lines;
  for (const auto& [name, values] : ValuesOf(parent.get())) {
    if (values.size() == expected.at(name).size()) expected[name] = values;
  }
  EXPECT_EQ(ValuesOf(model.get()), expected);
}

TEST_F(InitPlanTest, TensorsWithoutAPlaceAreNamedOrLeftOut) {
  ModelConfig config = TinyConfig(53);
  const auto parent = Initialized(config, 3);
  const std::string run = Save(parent.get());
  config.num_layers = 3;
  config.pattern.resize(3);
  config.mixers.erase("sliding");
  const auto model = Initialized(config, 4);
  const std::string refusal = Refusal(run, {}, model.get());
  EXPECT_TRUE(absl::StrContains(refusal,
                                "blocks.3.mlp.up_proj.weight [48, 32]: the model lacks it "
                                "(train.init_extra: ignore leaves it out)"))
      << refusal;
  const auto plan = Load(run, {.init_extra = MismatchRule::kAllow}, model.get());
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (const auto& [name, values] : ValuesOf(model.get())) {
    EXPECT_EQ(values, ValuesOf(parent.get()).at(name)) << name;
  }
}

TEST_F(InitPlanTest, RowsOfTheVocabularyThatBothHaveAreCopied) {
  for (const int64_t rows : {40, 71}) {
    const auto parent = Initialized(TinyConfig(53), 3), model = Initialized(TinyConfig(rows), 4);
    const std::string run = Save(parent.get());
    const std::string refusal = Refusal(run, {.init_missing = MismatchRule::kAllow}, model.get());
    EXPECT_TRUE(
        absl::StrContains(refusal, absl::StrCat("embedding.weight: 53 rows there, ", rows,
                                                " here (train.init_vocab: resize copies the first ",
                                                std::min<int64_t>(rows, 53))))
        << refusal;
    Values expected = ValuesOf(model.get());
    const auto plan = Load(run, {.init_vocab = MismatchRule::kAllow}, model.get());
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_TRUE(absl::StrContains(
        absl::StrJoin(plan->lines, "\n"),
        rows == 40 ? "head.weight: 53 rows there, 40 here: the first 40 are copied, their last 13 "
                     "are left out"
                   : "head.weight: 53 rows there, 71 here: the first 53 are copied, the others are "
                     "drawn"));
    for (const auto& [name, values] : ValuesOf(parent.get())) {
      std::vector<float>& target = expected.at(name);
      std::copy_n(values.begin(), std::min(values.size(), target.size()), target.begin());
    }
    EXPECT_EQ(ValuesOf(model.get()), expected);
  }
}

TEST_F(InitPlanTest, AnUntiedHeadBeginsAsTheEmbeddingThatWasItsHead) {
  ModelConfig config = TinyConfig(53);
  config.tie_embeddings = true;
  const auto parent = Initialized(config, 3);
  config.tie_embeddings = false;
  const auto model = Initialized(config, 4);
  const auto plan = Load(Save(parent.get()), {}, model.get());
  ASSERT_TRUE(plan.ok()) << plan.status();
  Values expected = ValuesOf(parent.get());
  expected["head.weight"] = expected.at("embedding.weight");
  EXPECT_EQ(ValuesOf(model.get()), expected);
  EXPECT_EQ(plan->lines.front(), "head.weight [53, 32]: copied from embedding.weight, their head");
}

// The names of mixers are the configuration's own, and initial values say nothing any more.
TEST_F(InitPlanTest, OnlyWhatChangesTheFunctionIsADifference) {
  ModelConfig config = TinyConfig(53);
  const auto parent = Initialized(config, 3);
  config.initializer_range = 0.01;
  config.norm_eps = 1e-4;
  config.mixers["other"] = config.mixers["sliding"];
  config.mixers["other"].As<AttentionMixerConfig>()->window = 3;
  config.mixers.erase("sliding");
  config.mixers["first"] = config.mixers["delta"];
  config.mixers.erase("delta");
  config.pattern = {"first", "gated", "kda", "other"};
  const auto model = Initialized(config, 4);
  const auto plan = Load(Save(parent.get()), {}, model.get());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->lines, (std::vector<std::string>{"norm_eps: 1e-06 there, 0.0001 here",
                                                   "layer 4, mixer: window: 6 there, 3 here"}));
}

TEST_F(InitPlanTest, WhatIsNoModelIsNamed) {
  const auto model = Initialized(TinyConfig(53), 4);
  EXPECT_TRUE(absl::StrContains(Refusal(folder_ / "nowhere", {}, model.get()),
                                "nowhere: there is no such folder"));
  std::filesystem::create_directory(folder_ / "empty");
  EXPECT_TRUE(absl::StrContains(Refusal(folder_ / "empty", {}, model.get()),
                                "empty: expected a checkpoint (manifest.json), a run folder"));
  ModelConfig narrow = TinyConfig(53);
  narrow.mixers = {{"sliding", narrow.mixers["sliding"]}};
  narrow.pattern = {"sliding"};
  ModelConfig wide = narrow;
  wide.hidden_size = 48;
  const std::string refusal =
      Refusal(Save(Initialized(wide, 3).get()),
              {.init_missing = MismatchRule::kAllow, .init_extra = MismatchRule::kAllow},
              Initialized(narrow, 4).get());
  EXPECT_TRUE(absl::StrContains(refusal, "no tensor fits by name and shape")) << refusal;
}

}  // namespace
}  // namespace wyvern
