#include "trainer/loop/train_step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/trainer/state_checks.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

Batch MakeBatch(int64_t sequences, int64_t length, int64_t vocab) {
  Batch batch{.cu_seqlens = EqualSequences(sequences, length)};
  for (int64_t t = 0; t < sequences * length; ++t) {
    batch.tokens.push_back(static_cast<int32_t>(t * 7 % vocab));
    batch.targets.push_back(static_cast<int32_t>((t + 1) * 7 % vocab));
  }
  return batch;
}

std::unique_ptr<Model> MakeModel() {
  auto model = Model::Create(TinyConfig(50), Device::kCpu, DType::kFloat32);
  model->Initialize(1);
  return model;
}

TEST(Optimizer, DecaysMatricesAndByKeyConvolutionsAndEmbeddings) {
  OptimizerSection options;
  options.weight_decay = 0.5;
  options.decay_convolutions = false;
  ModelConfig config = TinyConfig(50);
  config.moe = MoeConfig{.num_experts = 4, .experts_per_token = 2, .intermediate_size = 8};
  auto model = Model::Create(config, Device::kCpu, DType::kFloat32);
  model->Initialize(1);
  Optimizer optimizer(model.get(), options);
  model->ZeroGradients();
  std::map<std::string, std::vector<float>> before;
  for (const Parameter* p : model->parameters()) before[p->name] = p->master.ToVector<float>();
  optimizer.Step(0.1, 0, Tensor(), 1);  // no gradient: only decay moves anything
  std::map<ParameterKind, int> kinds;
  for (const Parameter* p : model->parameters()) {
    ++kinds[p->kind];
    const bool decayed = p->kind == ParameterKind::kMatrix || p->kind == ParameterKind::kExperts ||
                         p->kind == ParameterKind::kRouter || p->kind == ParameterKind::kEmbedding;
    const std::vector<float> after = p->master.ToVector<float>();
    for (size_t i = 0; i < after.size(); ++i) {
      const float expected = before[p->name][i] * (decayed ? 0.95f : 1.0f);
      ASSERT_FLOAT_EQ(after[i], expected) << p->name;
    }
  }
  EXPECT_EQ(kinds.size(), 9u) << "the model should have every kind of parameter";
  options.decay_embeddings = false;
  options.decay_convolutions = true;
  EXPECT_FALSE(IsDecayed(ParameterKind::kEmbedding, options));
  EXPECT_TRUE(IsDecayed(ParameterKind::kConvolution, options));
}

TEST(TrainStep, LowersTheLossOfItsBatch) {
  auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  const Batch batch = MakeBatch(2, 16, 50);
  const StepResult first = TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-2, 1.0, 1);
  EXPECT_TRUE(first.updated);
  EXPECT_GT(first.grad_norm, 0);
  StepResult last;
  for (int64_t update = 2; update <= 8; ++update) {
    last = TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-2, 1.0, update);
  }
  EXPECT_LT(last.loss, 0.8 * first.loss);
}

TEST(TrainStep, ANonFiniteStepChangesNothing) {
  auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  const Batch batch = MakeBatch(2, 16, 50);
  TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-2, 1.0, 1);
  Parameter* broken = model->parameters()[3];
  const float good = broken->master.data<float>()[0];
  broken->master.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const auto before = ValuesOf<float>(optimizer);
  const StepResult result = TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-2, 1.0, 2);
  EXPECT_FALSE(result.updated);
  EXPECT_EQ(DescribeNonFinite(model.get(), result, {&batch, 1}), "the loss (nan)");
  const auto after = ValuesOf<float>(optimizer);
  for (const auto& [name, values] : before) {  // NaN is not equal to itself
    EXPECT_EQ(std::memcmp(values.data(), after.at(name).data(), values.size() * sizeof(float)), 0);
  }
  broken->master.data<float>()[0] = good;
  EXPECT_TRUE(TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-2, 1.0, 2).updated);
}

TEST(Flops, AreThoseOfAStep) {
  auto model = MakeModel();
  Optimizer optimizer(model.get(), {});
  const Batch batch = MakeBatch(2, 64, 50);
  const StepResult result = TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-3, 1.0, 1);
  EXPECT_DOUBLE_EQ(result.flops, FlopsPerToken(TinyConfig(50), 64).training * 128);
}

}  // namespace
}  // namespace wyvern
