// A mixture of experts in configurations, steps, runs and checkpoints.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/checkpoint/model.h"
#include "trainer/config/load.h"
#include "trainer/config/model_json.h"
#include "trainer/loop/train_step.h"
#include "trainer/optimizer/expert_balance.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

ModelConfig MoeModel() {
  ModelConfig config = TinyConfig(50);
  config.moe = MoeConfig{.num_experts = 8,
                         .experts_per_token = 2,
                         .intermediate_size = 24,
                         .scale = 2,
                         .groups = 4,
                         .top_groups = 2};
  return config;
}

std::unique_ptr<Model> MakeModel() {
  auto model = Model::Create(MoeModel(), Device::kCpu, DType::kFloat32);
  model->Initialize(1);
  return model;
}

Batch MakeBatch(int64_t seed) {
  Batch batch{.cu_seqlens = {0, 31, 48}};
  for (int64_t t = 0; t < 48; ++t) {
    batch.tokens.push_back(static_cast<int32_t>((t * t + 7 * seed) % 50));
    batch.targets.push_back(static_cast<int32_t>((t + 3 * seed) % 50));
  }
  return batch;
}

TEST(ExpertBalance, MeasuresLoads) {
  EXPECT_DOUBLE_EQ(ExpertLoad({{5, 5, 5, 5}}).MaxOverMean(), 1);
  EXPECT_DOUBLE_EQ(ExpertLoad({{5, 5, 5, 5}}).Entropy(), 1);
  EXPECT_DOUBLE_EQ(ExpertLoad({{0, 12, 0, 0}}).MaxOverMean(), 4);
  EXPECT_DOUBLE_EQ(ExpertLoad({{0, 12, 0, 0}}).Entropy(), 0);
  EXPECT_DOUBLE_EQ(ExpertLoad({{6, 6, 0, 0}}).Entropy(), 0.5);
  EXPECT_DOUBLE_EQ(ExpertLoad({{0, 0}}).MaxOverMean(), 0);
  EXPECT_DOUBLE_EQ(ExpertLoad({{0, 0}}).Entropy(), 0);
  EXPECT_DOUBLE_EQ(ExpertLoad({{3}}).Entropy(), 1);
}

TEST(ExpertBalance, MovesTheBiasesAgainstTheLoads) {
  const auto model = MakeModel();
  // Mean 4: two above, one at it, five below; signs -1 -1 0 1 1 1 1 1 of mean 3/8.
  std::vector<ExpertLoad> loads(3, ExpertLoad{{12, 8, 4, 3, 2, 1, 1, 1}});
  loads[1].rows = {4, 4, 4, 4, 4, 4, 4, 4};
  UpdateBalance(model.get(), loads, 0.01);
  UpdateBalance(model.get(), loads, 0.01);
  const auto biases = model->router_biases();
  ASSERT_EQ(biases.size(), 3u);
  for (size_t layer = 0; layer < 3; ++layer) {
    const std::vector<float> bias = biases[layer]->value.ToVector<float>();
    for (size_t e = 0; e < 8; ++e) {
      const double sign = e < 2 ? -1 : e == 2 ? 0 : 1;
      EXPECT_NEAR(bias[e], layer == 1 ? 0 : 0.02 * (sign - 0.375), 1e-8) << layer << ", " << e;
    }
  }
}

TEST(ExpertBalance, EvensTheLoadsOfABatch) {
  const auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  const Batch batch = MakeBatch(1);
  std::vector<double> largest;
  for (int64_t update = 1; update <= 60; ++update) {
    const StepResult result = TrainStep(model.get(), &optimizer, {&batch, 1}, 0, 1.0, update);
    largest.push_back(0);
    for (const ExpertLoad& load : result.expert_loads) {
      largest.back() = std::max(largest.back(), load.MaxOverMean());
    }
    UpdateBalance(model.get(), result.expert_loads, 0.01);
  }
  EXPECT_GT(largest.front(), 1.75);
  EXPECT_LT(largest.back(), 0.75 * largest.front());
}

TEST(MoeTrainStep, CountsTheLoadsOfAllMicroBatches) {
  const auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  const std::vector<Batch> batches = {MakeBatch(1), MakeBatch(2), MakeBatch(3)};
  std::vector<std::vector<int64_t>> sum(3, std::vector<int64_t>(8));
  for (const Batch& batch : batches) {
    const StepResult result = TrainStep(model.get(), &optimizer, {&batch, 1}, 0, 1.0, 1);
    ASSERT_EQ(result.expert_loads.size(), 3u);
    for (size_t layer = 0; layer < 3; ++layer) {
      for (size_t e = 0; e < 8; ++e) sum[layer][e] += result.expert_loads[layer].rows[e];
    }
  }
  model->RecomputeBlocks(2);
  const StepResult result = TrainStep(model.get(), &optimizer, batches, 0, 1.0, 1);
  for (size_t layer = 0; layer < 3; ++layer) EXPECT_EQ(result.expert_loads[layer].rows, sum[layer]);
}

TEST(MoeTrainStep, ReportsTheBalanceLossPerToken) {
  const auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  model->SetBalanceLoss(0.1);
  const std::vector<Batch> batches = {MakeBatch(1), MakeBatch(2)};
  double mean = 0;
  for (const Batch& batch : batches) {
    mean += TrainStep(model.get(), &optimizer, {&batch, 1}, 0, 1.0, 1).balance_loss / 2;
  }
  // 1 a layer for equal loads, more where what is chosen often has large scores.
  EXPECT_GT(mean, 0.29);
  EXPECT_LT(mean, 0.6);
  EXPECT_NEAR(TrainStep(model.get(), &optimizer, batches, 0, 1.0, 1).balance_loss, mean, 1e-6);
}

TEST(MoeFlops, AreThoseOfAStep) {
  const auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  Batch batch = MakeBatch(1);
  batch.cu_seqlens = {0, 48};
  const StepResult result = TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-3, 1.0, 1);
  EXPECT_DOUBLE_EQ(result.flops, FlopsPerToken(MoeModel(), 48).training * 48);
}

TEST(MoeModelJson, ReadsWhatItWrote) {
  const ModelConfig config = MoeModel();
  const auto again = ModelConfigFromJson(ModelConfigToJson(config));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(*again == config);
  // As before there were any experts.
  EXPECT_FALSE(ModelConfigToJson(TinyConfig(50)).contains("moe"));
  auto json = ModelConfigToJson(config);
  json["moe"]["router"] = "top";
  EXPECT_EQ(ModelConfigFromJson(json).status().message(),
            "model.moe.router: expected sigmoid or softmax, found \"top\"");
  json["moe"]["router"] = "softmax";
  json["moe"]["groups"] = 3;
  EXPECT_EQ(ModelConfigFromJson(json).status().message(),
            "model.moe.groups: expected a divisor of num_experts 8, got 3");
}

class MoeRunTest : public RunTest {
 protected:
  const std::string kMoe =
      "model.moe={num_experts: 6, experts_per_token: 2, intermediate_size: 16, router: sigmoid, "
      "scale: 2.446, groups: 3, top_groups: 2}";
  // A run that begins where another one was.
  static void CopyCheckpoint(const std::string& from, const std::string& to, int64_t step) {
    std::filesystem::create_directories(to + "/checkpoints");
    std::filesystem::copy(Checkpoint(from, step), Checkpoint(to, step),
                          std::filesystem::copy_options::recursive);
  }
  absl::StatusOr<RunConfig> Parse(std::vector<std::string> sets) {
    sets.insert(sets.begin(), "run.device=cpu");
    return ParseRunConfig(Config(), "c.yaml", sets);
  }
  std::string ErrorOf(std::vector<std::string> sets) {
    const auto config = Parse(std::move(sets));
    return config.ok() ? "" : std::string(config.status().message());
  }
};

TEST_F(MoeRunTest, WhatIsWrittenReadsBackEqual) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{},
        {"model.moe.groups=1", "model.moe.top_groups=null", "train.balance_loss=0.01"},
        {"model.moe.router=softmax", "model.moe.renormalize=false", "model.moe.every=2",
         "model.moe.shared_experts=0", "train.balance_rate=0"}}) {
    std::vector<std::string> sets = {kMoe};
    sets.insert(sets.end(), more.begin(), more.end());
    const auto config = Parse(sets);
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_TRUE(config->model.moe.has_value());
    const auto again = ParseRunConfig(ToYaml(*config), "resolved");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(*again == *config) << ToYaml(*config);
  }
  const auto dense = Parse({});
  ASSERT_TRUE(dense.ok()) << dense.status();
  EXPECT_EQ(ToYaml(*dense).find("moe"), std::string::npos);
  EXPECT_EQ(ToYaml(*dense).find("balance"), std::string::npos);
}

TEST_F(MoeRunTest, FaultsAreNamed) {
  const auto expect = [&](const std::vector<std::string>& more, const std::string& message) {
    std::vector<std::string> sets = {kMoe};
    sets.insert(sets.end(), more.begin(), more.end());
    EXPECT_NE(ErrorOf(sets).find(message), std::string::npos) << ErrorOf(sets);
  };
  expect({"model.moe.groups=4"}, "model.moe.groups: expected a divisor of num_experts 6, got 4");
  expect({"model.moe.top_groups=4"}, "model.moe.top_groups: expected 1 to groups = 3, got 4");
  expect({"model.moe.top_groups=1", "model.moe.experts_per_token=3"},
         "model.moe.top_groups: 1 groups of 2 experts have no 3 (experts_per_token)");
  expect({"model.moe.experts_per_token=7"},
         "model.moe.experts_per_token: expected at most num_experts 6, got 7");
  expect({"model.moe.experts_per_token=33"}, "expected 1 to 32 (what the kernels serve), got 33");
  expect({"model.moe.num_experts=2000"}, "expected 1 to 1024 (what the kernels serve), got 2000");
  expect({"model.moe.intermediate_size=0"},
         "model.moe.intermediate_size: expected a positive number, got 0");
  expect({"model.moe.first_dense=3"}, "model.moe.first_dense: expected 0 to num_layers - 1 = 2");
  expect({"model.moe.every=3"}, "model.moe.every: no multiple of 3 is among the layers 1 to 2");
  expect({"model.moe.scale=0"}, "model.moe.scale: expected a positive number, got 0");
  expect({"model.moe.groups=1"}, "model.moe.top_groups: has no effect with groups: 1; remove it");
  expect({"train.balance_rate=-1"}, "train.balance_rate: expected at least 0, got -1");
  expect({"train.balance_loss=0.1", "parallel.context=2"},
         "train.balance_loss: is a mean over whole sequences, which parallel.context divides");
  expect({"parallel.expert=4"},
         "parallel.expert: expected a divisor of model.moe.num_experts 6, got 4");
  expect({"parallel.expert=0"}, "parallel.expert: expected at least 1, got 0");
  EXPECT_NE(ErrorOf({"parallel.expert=2"})
                .find("parallel.expert: has no effect with a model without experts"),
            std::string::npos);
  EXPECT_NE(ErrorOf({"train.balance_rate=1"})
                .find("train.balance_rate: has no effect with a model without experts"),
            std::string::npos);
}

TEST_F(MoeRunTest, AResumedRunHasTheSameDigits) {
  const std::vector<std::string> sets = {kMoe,
                                         "train.steps=13",
                                         "checkpoint.every=6",
                                         "train.balance_rate=0.02",
                                         "train.balance_loss=0.01",
                                         "validation.every=6"};
  std::vector<std::string> first = sets;
  first.push_back("run.dir=" + Path("reference"));
  ProcessResult result = Train(first);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto expected = Metrics(Path("reference"));
  const auto line = nlohmann::json::parse(expected.at(13));
  EXPECT_EQ(line["experts"]["layer"], (std::vector<int64_t>{2, 3}));
  for (const double load : line["experts"]["max_load"]) EXPECT_GE(load, 1);
  for (const double entropy : line["experts"]["entropy"]) {
    EXPECT_GT(entropy, 0.2);
    EXPECT_LE(entropy, 1);
  }
  EXPECT_EQ(line["dropped"], 0);
  EXPECT_GT(line["balance_loss"], 0.01);

  CopyCheckpoint(Path("reference"), Path("run"), 6);
  result = Train(sets);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  auto resumed = Metrics(Path("run"));
  for (int64_t step = 7; step <= 13; ++step) EXPECT_EQ(resumed.at(step), expected.at(step));
  ExpectEqualCheckpoints(Checkpoint(Path("run"), 13), Checkpoint(Path("reference"), 13));
  // The checkpoint's biases have moved (in an odd number of steps: these updates are so large that
  // each may undo the one before).
  const Tensor bias = Tensor::Zeros({6}, DType::kFloat32, Device::kCpu);
  ASSERT_TRUE(
      ReadCheckpoint(Checkpoint(Path("run"), 13), {{"model/blocks.1.moe.router.bias", bias}}).ok());
  double largest = 0;
  for (const float b : bias.ToVector<float>()) largest = std::max<double>(largest, std::abs(b));
  EXPECT_GT(largest, 0.01);
  // A sample from it goes through the decoding of every layer.
  result = Wyvern({"generate", Path("run"), "--prompt", "delta ", "--max-tokens", "5"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

// Checkpoints hold whole experts, whatever ranks had them.
TEST_F(MoeRunTest, ARunWithDividedExpertsGoesOnOnOneRank) {
  const std::vector<std::string> sets = {kMoe, "train.steps=8", "checkpoint.every=4",
                                         "train.balance_rate=0.02", "validation.every=4"};
  std::vector<std::string> first = sets;
  first.push_back("run.dir=" + Path("divided"));
  first.push_back("parallel.expert=2");
  ProcessResult result = Wait(Start(TrainArgs(Path("config.yaml"), first), 2));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  CopyCheckpoint(Path("divided"), Path("run"), 4);
  result = Train(sets);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  auto divided = Metrics(Path("divided")), alone = Metrics(Path("run"));
  for (int64_t step = 5; step <= 8; ++step) {
    const auto a = nlohmann::json::parse(divided.at(step)),
               b = nlohmann::json::parse(alone.at(step));
    EXPECT_NEAR(a["loss"].get<double>() / b["loss"].get<double>(), 1, 1e-4) << step;
    EXPECT_EQ(a["dropped"], 0);
  }
  // And the other way round.
  CopyCheckpoint(Path("run"), Path("again"), 8);
  std::vector<std::string> longer = sets;
  longer[1] = "train.steps=9";
  result = Train(longer);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  longer.insert(longer.end(), {"run.dir=" + Path("again"), "parallel.expert=2"});
  result = Wait(Start(TrainArgs(Path("config.yaml"), longer), 2));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto a = nlohmann::json::parse(Metrics(Path("again")).at(9));
  const auto b = nlohmann::json::parse(Metrics(Path("run")).at(9));
  EXPECT_NEAR(a["loss"].get<double>() / b["loss"].get<double>(), 1, 1e-4);
  EXPECT_NEAR(a["grad_norm"].get<double>() / b["grad_norm"].get<double>(), 1, 1e-3);
}

// Experts whose master weights and momenta two ranks share, one expert's matrices lying in both.
TEST_F(MoeRunTest, ARunWithShardedExpertsResumesExactlyAndGoesOnElsewhere) {
  const auto train = [&](int ranks, const std::string& dir, std::vector<std::string> sets) {
    sets.insert(sets.begin(), {kMoe, "optimizer.type=muon", "train.steps=8", "checkpoint.every=4",
                               "train.balance_rate=0.02", "train.micro_batch=2",
                               "validation.every=4", "run.dir=" + Path(dir)});
    const ProcessResult result = Wait(Start(TrainArgs(Path("config.yaml"), sets), ranks));
    ASSERT_EQ(result.exit_code, 0) << result.err;
  };
  const std::string mesh = "parallel={shard: 2, expert: 2, zero: 2}";  // twice
  train(4, "first", {mesh});
  CopyCheckpoint(Path("first"), Path("resumed"), 4);
  train(4, "resumed", {mesh});
  ExpectEqualCheckpoints(Checkpoint(Path("first"), 8), Checkpoint(Path("resumed"), 8));
  auto expected = Metrics(Path("first"));
  for (const auto& [ranks, other] :
       {std::pair(1, std::string("parallel={replicate: -1}")),
        std::pair(4, std::string("parallel={replicate: 1, shard: 4, expert: 2, zero: 3}"))}) {
    const std::string dir = absl::StrCat("on_", ranks);
    CopyCheckpoint(Path("first"), Path(dir), 4);
    train(ranks, dir, {other});
    auto got = Metrics(Path(dir));
    for (int64_t step = 5; step <= 8; ++step) {
      const auto a = nlohmann::json::parse(got.at(step)),
                 b = nlohmann::json::parse(expected.at(step));
      EXPECT_NEAR(a["loss"].get<double>() / b["loss"].get<double>(), 1, 1e-4) << step;
      EXPECT_NEAR(a["grad_norm"].get<double>() / b["grad_norm"].get<double>(), 1, 1e-2) << step;
    }
  }
}

// A batch of 7 samples, whose documents are packed whole: ranks have other numbers of samples, of
// micro batches' tokens and of counted targets, and exchange rows for experts all the same.
TEST_F(MoeRunTest, DividedExpertsServeUnevenBatches) {
  const auto train = [&](int ranks, const std::string& dir, const std::string& micro_batch) {
    const ProcessResult result =
        Wait(Start(TrainArgs(Path("config.yaml"),
                             {kMoe, "train.steps=6", "train.batch_tokens=448", "data.seq_len=64",
                              "data.sources.0.packing=whole", "data.sources.1.packing=whole",
                              "train.micro_batch=" + micro_batch, "train.balance_rate=0.02",
                              "validation.every=3", "logging.by_source=true",
                              "run.dir=" + Path(dir), absl::StrCat("parallel.expert=", ranks)}),
                   ranks));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find("documents in "), std::string::npos) << result.out;
  };
  train(1, "alone", "7");
  auto expected = Metrics(Path("alone"));
  for (const auto& [ranks, micro_batch] : {std::pair(2, "64"), {3, "64"}, {3, "2"}}) {
    const std::string dir = absl::StrCat("on_", ranks, "_", micro_batch);
    train(ranks, dir, micro_batch);
    auto got = Metrics(Path(dir));
    ASSERT_EQ(got.size(), expected.size());
    for (const auto& [step, line] : expected) {
      const auto a = nlohmann::json::parse(got.at(step)), b = nlohmann::json::parse(line);
      const std::string where = absl::StrCat(dir, ", step ", step);
      EXPECT_EQ(a.value("tokens", 0), b.value("tokens", 0)) << where;
      EXPECT_EQ(a.value("dropped", 0), 0) << where;
      EXPECT_EQ(a.contains("val_loss"), b.contains("val_loss")) << where;
      for (const char* key : {"loss", "val_loss"}) {
        if (b.contains(key)) {
          EXPECT_NEAR(a[key].get<double>() / b[key].get<double>(), 1, 1e-4) << where << key;
        }
      }
      if (step == 0) continue;
      for (const auto& [source, loss] : b["loss_by_source"].items()) {
        EXPECT_NEAR(a["loss_by_source"][source].get<double>() / loss.get<double>(), 1, 1e-4)
            << where << source;
      }
    }
  }
}

TEST_F(MoeRunTest, ACheckpointWithoutExpertsIsRefused) {
  const auto model = MakeModel();
  std::vector<NamedTensor> tensors = BufferTensors(model.get());
  for (const Parameter* p : model->parameters()) {
    if (p->name != "blocks.2.moe.experts.up.weight") {
      tensors.push_back({"model/" + p->name, p->master});
    }
  }
  const nlohmann::json meta = {{"model", ModelConfigToJson(model->config())}};
  ASSERT_TRUE(WriteCheckpoint(Path("broken"), 1, tensors, meta, 1).ok());
  const auto loaded = LoadModel(Checkpoint(Path("broken"), 1), Device::kCpu, DType::kFloat32);
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.status().message().find("model/blocks.2.moe.experts.up.weight"),
            std::string::npos)
      << loaded.status();
}

}  // namespace
}  // namespace wyvern
