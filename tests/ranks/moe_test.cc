// A mixture of experts on every mesh of the ranks, the experts divided or not, against one process,
// which each rank also is for itself.
#include <gtest/gtest.h>

#include <map>

#include "autograd/parallel/expert_exchange.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "kernels/runtime/random.h"
#include "tests/ranks/mesh_training.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/inference/eval.h"
#include "trainer/optimizer/expert_balance.h"

namespace wyvern {
namespace {

constexpr int64_t kVocab = 53;
constexpr int64_t kSteps = 6;
constexpr double kBalanceRate = 0.01;

Batch MakeBatch(int64_t number) {
  Batch batch;
  const Random random(static_cast<uint64_t>(number), "moe rank test");
  uint64_t draw = 0;
  batch.cu_seqlens = {0};
  for (int64_t document = 0; document < 2 + number % 3; ++document) {
    const auto length = static_cast<int64_t>(1 + random.Below(draw++, 12));
    for (int64_t t = 0; t < length; ++t) {
      batch.tokens.push_back(static_cast<int32_t>(random.Below(draw++, kVocab)));
      batch.targets.push_back(static_cast<int32_t>(random.Below(draw++, kVocab)));
    }
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + static_cast<int32_t>(length));
  }
  return batch;
}

struct Case {
  MeshShape mesh;
  int stage = 1;
  int64_t recomputed = 0;
  int64_t micro_batches = 1;
  bool shared = true;
  double balance_loss = 0;
  int64_t favoured = 0;  // this many experts get all tokens, at the start
  int64_t num_experts = 8;
  OptimizerType optimizer = OptimizerType::kAdamW;
  DType dtype = DType::kFloat32;
  Device device = Device::kCpu;
  RecomputePolicy recompute = RecomputePolicy::kNone;

  bool operator==(const Case&) const = default;
};

std::vector<Case> Cases() {
  const int64_t n = TheWorld().size();
  std::vector<Case> cases;
  const auto add = [&](const MeshShape& mesh, Case c) {
    c.mesh = mesh;
    cases.push_back(c);
  };
  // Experts sharded as all else, and divided.
  add({n, 1, 1, 1}, {.micro_batches = 2, .balance_loss = 0.1});
  add({1, n, 1, 1}, {.stage = 3, .recomputed = 4});
  if (n == 1) return cases;
  add({n, 1, 1, n}, {.micro_batches = 2, .balance_loss = 0.1});
  add({n, 1, 1, n}, {.shared = false, .favoured = 2});
  add({1, n, 1, n}, {.stage = 1, .micro_batches = 3});
  add({1, n, 1, n}, {.stage = 2, .recomputed = 4, .micro_batches = 2, .balance_loss = 0.1});
  add({1, n, 1, n}, {.stage = 3, .recompute = RecomputePolicy::kProjections});
  add({1, 1, n, n}, {.recomputed = 2, .recompute = RecomputePolicy::kProjections});
  if (n == 2) return cases;
  add({4, 1, 1, 2}, {.micro_batches = 2});
  add({2, 2, 1, 4}, {.stage = 2});
  add({2, 1, 2, 4}, {.micro_batches = 2});
  // Divided, and sharded over those that have the same ones, in one shard group and in two.
  add({1, 4, 1, 2}, {.stage = 1, .num_experts = 6});
  add({1, 4, 1, 2}, {.stage = 2, .recomputed = 2});
  add({1, 4, 1, 2}, {.stage = 3, .micro_batches = 2});
  add({2, 2, 1, 2}, {.stage = 1, .favoured = 2});
  add({2, 2, 1, 2}, {.stage = 2, .num_experts = 6});
  add({2, 2, 1, 2}, {.stage = 3, .micro_batches = 2});
  add({1, 2, 2, 2}, {.stage = 3, .recomputed = 1});
  return cases;
}

ModelConfig ConfigOf(const Case& c) {
  ModelConfig config = TinyConfig(kVocab);
  config.initializer_range = 0.1;
  config.moe = MoeConfig{.num_experts = c.num_experts,
                         .experts_per_token = 2,
                         .intermediate_size = 20,
                         .shared_experts = c.shared ? 1 : 0,
                         .scale = 2,
                         .groups = 2,
                         .top_groups = 2};
  return config;
}

struct Outcome {
  Course course;
  std::vector<double> balance_losses;
  std::vector<std::vector<int64_t>> loads;  // of every step and layer
  // This rank's part of the gradients of the first step and of the master weights at the end.
  Parts gradients, masters;
  std::map<std::string, std::vector<double>> buffers;
};

// This rank's part of a shard, and where it lies in the whole parameter.
Part PartOf(const Parameter& p, const Tensor& shard) {
  const FlatParameters::Slice slice = p.flat->SliceOf(p);
  if (slice.size() == 0) return {};
  const int64_t slice_size = NumElements(p.whole_shape) / p.whole_shape[0];
  return {p.first_slice * slice_size + slice.begin, Doubles(FlatParameters::PartOf(shard, slice))};
}

Outcome Train(const Case& c, const Trainee& trainee) {
  Model* const model = trainee.model;
  Optimizer optimizer(model, {.type = c.optimizer, .epsilon = 1e-4, .weight_decay = 0.1});
  StartTraining(c, model);
  model->SetBalanceLoss(c.balance_loss);
  for (ModelBuffer* bias : model->router_biases()) {
    std::vector<double> values = Doubles(bias->value);
    for (int64_t e = 0; e < c.favoured; ++e) values[static_cast<size_t>(3 + e)] = 5;
    bias->value.CopyFrom(Tensor::FromVector(values, bias->shape));
  }
  if (trainee.parallel != nullptr) trainee.parallel->ValuesChanged();
  const int64_t all = BatchesPerStep(c);
  Outcome outcome;
  for (int64_t step = 0; step < kSteps; ++step) {
    const StepResult result =
        TrainStep(model, &optimizer, trainee.Batches(step * all, all, MakeBatch), 1e-3, 1.0,
                  step + 1, trainee.parallel);
    outcome.course.Add(result);
    UpdateBalance(model, result.expert_loads, kBalanceRate);
    outcome.balance_losses.push_back(result.balance_loss);
    for (const ExpertLoad& load : result.expert_loads) outcome.loads.push_back(load.rows);
    if (step > 0) continue;
    for (const Parameter* p : model->parameters()) {
      p->var.grad();  // written, if it only counts as zero
      outcome.gradients[p->name] = PartOf(*p, p->flat->gradient_shard());
    }
  }
  for (const Parameter* p : model->parameters()) {
    outcome.masters[p->name] = PartOf(*p, p->flat->master_shard());
  }
  for (const ModelBuffer* b : model->buffers()) outcome.buffers[b->name] = Doubles(b->value);
  return outcome;
}

// Trained once for all cases that differ by their mesh alone.
const Outcome& Alone(const Case& c) {
  Case alone = c;
  alone.mesh = {1, 1};
  alone.stage = 1;
  alone.micro_batches = BatchesPerStep(c);
  return TrainAlone(alone, ConfigOf(alone),
                    [&](const Trainee& trainee) { return Train(alone, trainee); });
}

void ExpectSame(const Case& c, double tolerance, double tolerance_at_end) {
  SCOPED_TRACE(DescribeMesh(c));
  const Outcome& expected = Alone(c);
  const Outcome got =
      TrainOnMesh(c, ConfigOf(c), [&](const Trainee& trainee) { return Train(c, trainee); });
  ExpectSameCourse(got.course, expected.course, kSteps, tolerance, tolerance_at_end);
  for (size_t step = 0; step < kSteps; ++step) {
    EXPECT_NEAR(got.balance_losses[step], expected.balance_losses[step], tolerance);
  }
  ExpectSameParts(got.gradients, expected.gradients, tolerance);
  ExpectSameParts(got.masters, expected.masters, tolerance_at_end);
  if (c.device == Device::kCpu) {
    EXPECT_EQ(got.loads, expected.loads);
    EXPECT_EQ(got.buffers, expected.buffers);
  }
}

TEST(MoeRanks, EveryMeshTrainsAsOneProcess) {
  for (const Case& c : Cases()) ExpectSame(c, 1e-5, 1e-4);
}

TEST(MoeRanks, EveryMeshTrainsAsOneProcessInDoublePrecision) {
  for (Case c : Cases()) {
    if (c.micro_batches == 2) continue;
    c.dtype = DType::kFloat64;
    ExpectSame(c, 1e-12, 1e-11);
  }
}

// Each expert's matrices are orthogonalised by themselves, wherever they are.
TEST(MoeRanks, MuonUpdatesTheExpertsOfEveryMeshAlike) {
  for (Case c : Cases()) {
    if (c.micro_batches > 1) continue;
    c.optimizer = OptimizerType::kMuon;
    ExpectSame(c, 1e-5, 1e-4);
  }
}

TEST(MoeRanks, EveryMeshTrainsAsOneGpu) {
  if (!RanksHaveGpus()) GTEST_SKIP() << "no GPU for every rank";
  for (Case c : Cases()) {
    c.device = Device::kCuda;
    ExpectSame(c, 1e-4, 1e-2);
  }
}

// Bytes of a model and its optimizer on this rank.
int64_t StateBytes(const ModelConfig& config, OptimizerType type, const ShardingLayout& layout) {
  const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
  const auto model =
      Model::Create(config, Device::kCpu, DType::kFloat32, /*trainable=*/true, layout);
  const Optimizer optimizer(model.get(), {.type = type});
  return GetMemoryStats(Device::kCpu).current_bytes - before;
}

TEST(MoeRanks, EveryCopyOfAnExpertHasItsShareOfTheMemory) {
  if (TheWorld().size() < 4) GTEST_SKIP() << "one copy of each expert";
  // The bytes of more permuted tokens: all else is as large as before.
  const auto bytes_of_rows = [](const MeshShape& shape, int stage, OptimizerType type) {
    auto mesh = Mesh::Create(&TheWorld(), shape, Device::kCpu);
    CHECK(mesh.ok(), std::string(mesh.status().message()));
    ModelConfig config = ConfigOf({.shared = false});
    config.moe->intermediate_size = 64;
    const int64_t less = StateBytes(config, type, (*mesh)->LayoutAt(stage));
    config.moe->intermediate_size = 192;
    return StateBytes(config, type, (*mesh)->LayoutAt(stage)) - less;
  };
  // One rank's experts: half of 8 in 3 layers, three matrices each.
  constexpr int64_t kRows = 4 * (3 * 4 * 3 * 32 * 128);
  for (const OptimizerType type : {OptimizerType::kAdamW, OptimizerType::kMuon}) {
    // Parameters, which are the master weights on the CPU, and gradients; and what the optimizer
    // keeps.
    const int64_t moments = type == OptimizerType::kAdamW ? 2 : 1;
    EXPECT_EQ(bytes_of_rows({4, 1, 1, 2}, 1, type), (2 + moments) * kRows);
    // Each expert has two replicas, whatever shard groups they are in.
    for (const int stage : {1, 2, 3}) {
      EXPECT_EQ(bytes_of_rows({2, 2, 1, 2}, stage, type), (4 + moments) * kRows / 2) << stage;
      EXPECT_EQ(bytes_of_rows({1, 4, 1, 2}, stage, type),
                ((stage == 1 ? 4 : 3) + moments) * kRows / 2)
          << stage;
    }
  }
}

// Rows of any number to any rank: what arrives is sorted by expert, and comes back to its place.
TEST(MoeRanks, AnExchangeBringsRowsToTheirExpertsAndBack) {
  const int64_t n = TheWorld().size(), E = 3 * n, D = 2;
  auto mesh = Mesh::Create(&TheWorld(), {n, 1, 1, n}, Device::kCpu);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  Communicator* group = n == 1 ? &(*mesh)->self() : (*mesh)->experts();
  const int64_t rank = TheWorld().rank();
  for (const int64_t rows : {int64_t{0}, 5 + 7 * rank, rank == n - 1 ? int64_t{40} : int64_t{0}}) {
    const Random random(static_cast<uint64_t>(rank), "exchange");
    std::vector<int32_t> experts;
    for (int64_t i = 0; i < rows; ++i) {
      experts.push_back(static_cast<int32_t>(random.Below(i, rows == 40 ? 1 : E)));
    }
    const ExpertPlan plan = ExpertPlan::Of(Tensor::FromVector(experts, {rows}), E);
    // A row says its expert and where it comes from.
    const Tensor x = Tensor::Empty({rows, D}, DType::kFloat64, Device::kCpu);
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t pair = plan.source.data<int32_t>()[row];
      x.data<double>()[row * D] = experts[static_cast<size_t>(pair)];
      x.data<double>()[row * D + 1] = static_cast<double>(1000 * rank + pair);
    }
    const ExpertExchange exchange(plan.offsets, rows, group);
    Pending pending;
    const Tensor y = exchange.Start(x, /*back=*/false, &pending);
    pending.Wait();
    const std::vector<int32_t> offsets = exchange.plan().offsets.ToVector<int32_t>();
    ASSERT_EQ(offsets.back(), y.dim(0));
    for (int64_t e = 0; e < 3; ++e) {
      for (int32_t row = offsets[e]; row < offsets[e + 1]; ++row) {
        const int32_t from = exchange.plan().source.data<int32_t>()[row];
        EXPECT_EQ(y.data<double>()[from * D], static_cast<double>(3 * rank + e));
      }
    }
    const Tensor again = exchange.Start(y, /*back=*/true, &pending);
    pending.Wait();
    EXPECT_EQ(again.ToVector<double>(), x.ToVector<double>());
  }
}

TEST(MoeRanks, EvaluationIsThatOfOneProcess) {
  const int64_t n = TheWorld().size();
  Case c;
  c.mesh = {n, 1, 1, n};
  const auto alone = Model::Create(ConfigOf(c), Device::kCpu, DType::kFloat64);
  alone->Initialize(1);
  std::vector<Batch> batches;
  for (int64_t i = 0; i < 2 * n + 1; ++i) batches.push_back(MakeBatch(1000 + i));
  const EvalResult expected = Evaluate(alone.get(), batches);
  auto mesh = Mesh::Create(&TheWorld(), c.mesh, Device::kCpu);
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  const auto model = Model::Create(ConfigOf(c), Device::kCpu, DType::kFloat64, /*trainable=*/true,
                                   (*mesh)->LayoutAt(1));
  DataParallel parallel(model.get(), mesh->get());
  model->Initialize(1);
  std::vector<EvalBatch> divided;
  for (const Batch& batch : batches) divided.push_back({batch, {0}});
  const auto results =
      Evaluate(model.get(), divided, 1, TokenBytes(*MakeByteTokenizer()), &parallel);
  EXPECT_NEAR(results[0].loss, expected.loss, 1e-12);
}

}  // namespace
}  // namespace wyvern
