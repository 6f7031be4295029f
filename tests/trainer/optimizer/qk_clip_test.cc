#include "trainer/optimizer/qk_clip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/config/run_config.h"
#include "trainer/inference/eval.h"
#include "trainer/loop/train_step.h"
#include "trainer/parallel/device_batch.h"

namespace wyvern {
namespace {

Batch MakeBatch() {
  Batch batch{.cu_seqlens = EqualSequences(2, 24)};
  for (int32_t t = 0; t < 48; ++t) {
    batch.tokens.push_back(t * 7 % 31);
    batch.targets.push_back((t + 1) * 7 % 31);
  }
  return batch;
}

// One layer of attention with four heads.
ModelConfig ConfigOf(int64_t num_kv_heads, bool bias) {
  ModelConfig config = TinyConfig(31);
  AttentionMixerConfig attention;
  attention.num_heads = 4;
  attention.num_kv_heads = num_kv_heads;
  attention.qkv_bias = bias;
  config.mixers = {{"attention", attention}};
  config.pattern = {"attention"};
  config.num_layers = 1;
  return config;
}

// One layer of MLA with four heads.
ModelConfig MlaConfigOf(int64_t q_lora_rank, bool rope) {
  ModelConfig config = TinyConfig(31);
  MlaMixerConfig mla;
  mla.num_heads = 4;
  mla.kv_lora_rank = 12;
  mla.qk_nope_dim = 8;
  mla.qk_rope_dim = 4;
  mla.value_dim = 8;
  mla.q_lora_rank = q_lora_rank;
  mla.rope = rope;
  config.mixers = {{"mla", mla}};
  config.pattern = {"mla"};
  config.num_layers = 1;
  return config;
}

std::unique_ptr<Model> MakeModel(const ModelConfig& config) {
  auto model = Model::Create(config, Device::kCpu, DType::kFloat64);
  model->Initialize(7);
  // Biases that matter.
  for (Parameter* p : model->parameters()) {
    if (p->kind != ParameterKind::kBias) continue;
    for (int64_t i = 0; i < p->master.numel(); ++i) {
      p->master.data<double>()[i] = 0.1 * static_cast<double>(i % 5);
    }
  }
  return model;
}

// The largest logit of each head in a recorded forward.
std::vector<double> LogitsOf(Model* model, const QkClipper& clipper) {
  const Batch batch = MakeBatch();
  const DeviceBatch uploaded = Upload(batch, Device::kCpu, nullptr);
  clipper.Reset();
  Tape tape;
  model->Loss(tape, uploaded.ids, uploaded.targets, uploaded.packing, 48);
  return clipper.max_logits().ToVector<double>();
}

const Tensor& Finite() {
  static const Tensor* const finite = new Tensor(Tensor::FromVector<int32_t>({1}, {1}));
  return *finite;
}

void ExpectHeld(const ModelConfig& config) {
  const auto model = MakeModel(config);
  std::vector<double> before;
  {
    const QkClipper watch(model.get(), 1e9);
    before = LogitsOf(model.get(), watch);
  }
  ASSERT_EQ(before.size(), 4u);
  std::vector<double> sorted = before;
  std::sort(sorted.begin(), sorted.end());
  const double tau = 0.5 * (sorted[1] + sorted[2]);  // two heads are above it
  ASSERT_GT(tau, 0);
  const QkClipper clipper(model.get(), tau);
  LogitsOf(model.get(), clipper);
  const QkClipper::Summary summary = clipper.Read();
  EXPECT_EQ(summary.max_logit, sorted[3]);
  EXPECT_EQ(summary.clipped_heads, 2);
  clipper.Apply(Finite());
  const std::vector<double> after = LogitsOf(model.get(), clipper);
  for (size_t head = 0; head < 4; ++head) {
    EXPECT_NEAR(after[head], std::min(before[head], tau), 1e-12 * tau) << head;
  }
}

TEST(QkClip, HoldsTheLogitsOfTheHeadsAboveTheLimitAndNoOthers) {
  for (const int64_t num_kv_heads : {4, 2, 1}) {
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(absl::StrCat(num_kv_heads, " key heads", bias ? ", biases" : ""));
      ExpectHeld(ConfigOf(num_kv_heads, bias));
    }
  }
  for (const int64_t q_lora_rank : {0, 10}) {
    for (const bool rope : {false, true}) {
      SCOPED_TRACE(absl::StrCat("latent, rank of queries ", q_lora_rank, rope ? ", rope" : ""));
      ExpectHeld(MlaConfigOf(q_lora_rank, rope));
    }
  }
}

// With one key head a query head, both sides take half.
TEST(QkClip, ScalesQueriesAndKeysAlike) {
  const auto model = MakeModel(ConfigOf(4, false));
  const std::vector<Parameter*> parameters = model->parameters();
  const auto norm = [&](const std::string& name, int64_t head) {
    for (const Parameter* p : parameters) {
      if (p->name != "blocks.0.mixer." + name + ".weight") continue;
      double squares = 0;
      for (int64_t i = 0; i < 8 * 32; ++i) {
        squares += std::pow(p->master.data<double>()[head * 8 * 32 + i], 2);
      }
      return std::sqrt(squares);
    }
    return 0.0;
  };
  const QkClipper clipper(model.get(), 0.1);
  const std::vector<double> logits = LogitsOf(model.get(), clipper);
  for (int64_t head = 0; head < 4; ++head) ASSERT_GT(logits[static_cast<size_t>(head)], 0.1);
  const double q = norm("q_proj", 1), k = norm("k_proj", 1), v = norm("v_proj", 1);
  clipper.Apply(Finite());
  const double factor = std::sqrt(0.1 / logits[1]);
  EXPECT_NEAR(norm("q_proj", 1) / q, factor, 1e-12);
  EXPECT_NEAR(norm("k_proj", 1) / k, factor, 1e-12);
  EXPECT_EQ(norm("v_proj", 1), v);
}

TEST(QkClip, TrainingStaysAtTheLimit) {
  OptimizerSection options;
  options.type = OptimizerType::kMuon;
  options.qk_clip = 0.5;
  auto model = Model::Create(TinyConfig(31), Device::kCpu, DType::kFloat32);
  model->Initialize(1);
  Optimizer optimizer(model.get(), options);
  const Batch batch = MakeBatch();
  StepResult result;
  double first = 0;
  for (int64_t update = 1; update <= 12; ++update) {
    result = TrainStep(model.get(), &optimizer, {&batch, 1}, 2e-3, 1.0, update);
    ASSERT_TRUE(result.logits.has_value());
    if (update == 1) first = result.logits->max_logit;
    if (update > 1) {
      EXPECT_LT(result.logits->max_logit, 1.1 * 0.5);
    }
  }
  EXPECT_GT(first, 2 * 0.5);
  // Logits of an evaluation do not count.
  optimizer.qk_clip()->Reset();
  Evaluate(model.get(), {batch});
  EXPECT_EQ(optimizer.qk_clip()->Read().clipped_heads, 0);
  EXPECT_TRUE(std::isinf(optimizer.qk_clip()->Read().max_logit));
}

// The forward that backward recomputes is the same one.
TEST(QkClip, CountsBlocksThatAreRecomputed) {
  const Batch batch = MakeBatch();
  std::vector<double> logits;
  for (const int64_t recomputed : {0, 4}) {
    OptimizerSection options;
    options.qk_clip = 0.5;
    auto model = Model::Create(TinyConfig(31), Device::kCpu, DType::kFloat32);
    model->Initialize(1);
    model->RecomputeBlocks(recomputed);
    Optimizer optimizer(model.get(), options);
    logits.push_back(
        TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-3, 1.0, 1).logits->max_logit);
  }
  EXPECT_EQ(logits[0], logits[1]);
}

TEST(QkClip, AModelWithoutSuchHeadsIsAFault) {
  ModelConfig config = TinyConfig(31);
  EXPECT_TRUE(HasQkClip(config));
  config.mixers["sliding"].As<AttentionMixerConfig>()->qk_norm = true;
  EXPECT_FALSE(HasQkClip(config));
  RunConfig run;
  run.model = config;
  run.optimizer.qk_clip = 100;
  bool found = false;
  for (const std::string& fault : run.Validate()) {
    found |= fault.find("optimizer.qk_clip: has no effect") == 0;
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace wyvern
