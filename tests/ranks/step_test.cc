// Tests of what a rank of a mesh keeps, of a step that one rank spoils, and of evaluation.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "data/tokenizer/byte_tokenizer.h"
#include "kernels/runtime/allocator.h"
#include "tests/ranks/batches.h"
#include "tests/ranks/ranks.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/inference/eval.h"
#include "trainer/loop/train_step.h"

namespace wyvern {
namespace {

TEST(StepRanks, AShardHasItsShareOfTheMemory) {
  const int64_t n = TheWorld().size();
  ModelConfig config = TinyConfig(1024);
  config.hidden_size = 256;
  auto mesh = Mesh::Create(&TheWorld(), {1, n}, Device::kCpu);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  const auto state_bytes = [&](const ShardingLayout& layout) {
    const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
    const auto model =
        Model::Create(config, Device::kCpu, DType::kFloat32, /*trainable=*/true, layout);
    const Optimizer optimizer(model.get(), {});
    return static_cast<double>(GetMemoryStats(Device::kCpu).current_bytes - before);
  };
  const double whole = state_bytes({});
  const auto share = [&](int stage) { return state_bytes((*mesh)->LayoutAt(stage)) / whole; };
  // Parameters, gradients and two moments are a quarter each (on the CPU the master weights are the
  // parameters).
  const double part = 1.0 / static_cast<double>(n);
  EXPECT_NEAR(share(3), part, 0.05 * part);
  EXPECT_NEAR(share(2), 0.25 + 0.75 * part, 0.02);
  EXPECT_NEAR(share(1), 0.5 + 0.5 * part, 0.02);
}

TEST(StepRanks, AFaultOfOneRankSkipsTheStepOnAll) {
  if (TheWorld().size() == 1) GTEST_SKIP() << "one rank";
  const int64_t n = TheWorld().size();
  for (const MeshShape& shape : {MeshShape{n, 1}, MeshShape{1, n}}) {
    auto mesh = Mesh::Create(&TheWorld(), shape, Device::kCpu);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    const auto model = Model::Create(TinyConfig(kVocab), Device::kCpu, DType::kFloat32,
                                     /*trainable=*/true, (*mesh)->LayoutAt(1));
    DataParallel parallel(model.get(), mesh->get());
    Optimizer optimizer(model.get(), {});
    model->Initialize(1);
    // The gain of one rank's final norm: no other rank has met it before the reductions.
    const Parameter* broken = nullptr;
    for (const Parameter* p : model->parameters()) {
      if (p->name == "final_norm.weight") broken = p;
    }
    const float good = broken->value.data<float>()[0];
    const auto spoil = [&] {
      if (TheWorld().rank() != 1) return;
      broken->value.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    };
    spoil();
    const Batch batch = MakeBatch(TheWorld().rank());
    const StepResult result =
        TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-3, 1.0, 1, &parallel);
    EXPECT_FALSE(result.updated);
    EXPECT_TRUE(std::isnan(result.loss));
    EXPECT_EQ(DescribeNonFinite(model.get(), result, {&batch, 1}, &parallel),
              "the loss (nan) of rank 1");
    // Every rank would look for this if the loss had been finite. (The end of the step gathered the
    // parameters of a sharded model anew.)
    spoil();
    StepResult finite_loss = result;
    finite_loss.loss = 1;
    EXPECT_EQ(DescribeNonFinite(model.get(), finite_loss, {&batch, 1}, &parallel),
              "the gradient of embedding.weight on rank 1");
    broken->value.data<float>()[0] = good;
    parallel.ValuesChanged();
    EXPECT_TRUE(TrainStep(model.get(), &optimizer, {&batch, 1}, 1e-3, 1.0, 1, &parallel).updated);
  }
}

TEST(StepRanks, EvaluationIsThatOfOneProcess) {
  const int64_t n = TheWorld().size();
  const auto alone = TinyModel(kVocab);
  std::vector<Batch> batches;
  for (int64_t i = 0; i < 2 * n + 1; ++i) batches.push_back(MakeBatch(1000 + i));
  const EvalResult expected = Evaluate(alone.get(), batches);
  std::vector<EvalBatch> divided;
  for (const Batch& batch : batches) divided.push_back({batch, {0}});
  divided.back().results.push_back(1);
  const TokenBytes bytes(*MakeByteTokenizer());
  // ZeRO stage and mesh. What a CP group passes on is rounded.
  std::vector<std::pair<int, MeshShape>> cases = {
      {1, {1, n}}, {3, {1, n}}, {1, {1, 1, n}}, {1, {1, -1, n > 1 ? 2 : 1}}};
  for (const auto& [stage, shape] : cases) {
    auto mesh = Mesh::Create(&TheWorld(), shape, Device::kCpu);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    const auto model = Model::Create(TinyConfig(kVocab), Device::kCpu, DType::kFloat32,
                                     /*trainable=*/true, (*mesh)->LayoutAt(stage));
    DataParallel parallel(model.get(), mesh->get());
    model->Initialize(1);
    parallel.ValuesChanged();
    const std::vector<EvalResult> results = Evaluate(model.get(), divided, 2, bytes, &parallel);
    const EvalResult& got = results[0];
    EXPECT_EQ(got.num_bytes, expected.num_targets);
    EXPECT_EQ(results[1].num_targets, batches.back().num_targets());
    EXPECT_NEAR(got.loss, expected.loss, (*mesh)->shape().context == 1 ? 1e-12 : 1e-5);
    EXPECT_EQ(got.num_targets, expected.num_targets);
    EXPECT_EQ(got.num_tokens, expected.num_tokens);
    ASSERT_EQ(got.positions.size(), expected.positions.size());
    for (size_t b = 0; b < got.positions.size(); ++b) {
      EXPECT_EQ(got.positions[b].num_targets, expected.positions[b].num_targets);
    }
  }
}

}  // namespace
}  // namespace wyvern
