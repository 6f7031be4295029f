// Training on every mesh of the ranks against one process, which each rank also is for itself.
#include <gtest/gtest.h>

#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mamba2/mamba2_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "tests/ranks/batches.h"
#include "tests/ranks/mesh_training.h"
#include "tests/trainer/tiny_model.h"

namespace wyvern {
namespace {

constexpr int64_t kSteps = 20;
constexpr int64_t kEpoch = 4;  // steps after which the batches come again

struct Case {
  MeshShape mesh;
  int stage = 1;
  bool tied = false;
  int64_t recomputed = 0;
  int64_t micro_batches = 2;  // of each rank and step
  DType dtype = DType::kFloat32;
  Device device = Device::kCpu;
  RecomputePolicy recompute = RecomputePolicy::kNone;
  OptimizerType optimizer = OptimizerType::kAdamW;
  double qk_clip = 0;
  int64_t steps = kSteps;
  bool mamba2 = false;  // a layer of it more

  // At the larger one, the rounding of one process alone moves the deeper model's later losses by
  // more than the tolerance.
  double rate() const { return mesh.context > 1 ? 4e-4 : 1e-3; }

  bool operator==(const Case&) const = default;
};

std::string Describe(const Case& c) { return DescribeMesh(c) + (c.tied ? ", tied" : ""); }

std::vector<Case> Cases() {
  const int64_t n = TheWorld().size();
  std::vector<Case> cases = {{.mesh = {n, 1}, .micro_batches = 1},
                             {.mesh = {n, 1}, .micro_batches = 3}};
  for (const int stage : {1, 2, 3}) {
    cases.push_back({.mesh = {1, n}, .stage = stage, .micro_batches = stage == 2 ? 3 : 1});
    cases.push_back({.mesh = {1, n},
                     .stage = stage,
                     .tied = true,
                     .recomputed = stage == 2 ? 0 : 4,
                     .micro_batches = 2});
    if (n == 4) {
      cases.push_back({.mesh = {2, 2}, .stage = stage, .micro_batches = stage == 2 ? 1 : 3});
    }
  }
  if (n > 1) {
    cases.push_back({.mesh = {1, 1, n}, .micro_batches = 1});
    cases.push_back({.mesh = {1, 1, n},
                     .tied = true,
                     .recomputed = 3,
                     .micro_batches = 2,
                     .recompute = RecomputePolicy::kProjections});
  }
  if (n == 4) {
    cases.push_back({.mesh = {2, 1, 2}, .micro_batches = 3});
    for (const int stage : {1, 2, 3}) {
      cases.push_back({.mesh = {1, 2, 2}, .stage = stage, .micro_batches = stage == 2 ? 1 : 3});
    }
  }
  return cases;
}

struct Outcome {
  Course course;
  std::vector<double> logits;
  int64_t clipped_heads = 0;  // of all steps
  Parts gradients, masters;   // whole: of the first step, at the end
};

ModelConfig ConfigOf(const Case& c) {
  ModelConfig config = TinyConfig(kVocab);
  config.initializer_range = 0.1;
  config.tie_embeddings = c.tied;
  if (c.mamba2) {
    config.mixers["mamba2"] = Mamba2MixerConfig{
        .num_heads = 2, .head_dim = 8, .state_dim = 8, .num_groups = 2, .bias = true};
    config.pattern.push_back("mamba2");
    config.num_layers = 5;
  }
  if (c.mesh.context > 1) {
    // A mixer for every form of what goes from rank to rank.
    AttentionMixerConfig global;
    global.num_heads = 4;
    global.num_kv_heads = 2;
    global.qk_norm = true;
    config.mixers["global"] = global;
    config.mixers["gated"].As<DeltaMixerConfig>()->num_value_heads = 4;
    config.pattern.push_back("global");
    auto& kda = *config.mixers["kda"].As<DeltaMixerConfig>();
    kda.gate_lower_bound = -5;
    kda.decay_rank = DeltaMixerConfig::kFullRank;
    kda.output_gate_rank = 0;
    MlaMixerConfig mla;
    mla.num_heads = 2;
    mla.kv_lora_rank = 12;
    mla.qk_nope_dim = 8;
    mla.qk_rope_dim = 4;
    mla.value_dim = 8;
    mla.rope = true;
    mla.output_gate = OutputGate::kSigmoid;
    mla.output_gate_scope = OutputGateScope::kHead;
    config.mixers["mla"] = mla;
    config.pattern.push_back("mla");
    config.num_layers = 6;
  }
  return config;
}

// Puts together the shards of every parameter over the shard group: `shard_of` gives the shard of a
// flat buffer, its gradients say.
template <typename ShardOf>
Parts Whole(Model* model, const Mesh* mesh, const ShardOf& shard_of) {
  Parts result;
  for (const Parameter* p : model->parameters()) {
    const FlatParameters& flat = *p->flat;
    Tensor whole = shard_of(flat);
    if (mesh != nullptr) {
      const Tensor shard = whole;
      whole = Tensor::Empty({flat.num_elements()}, shard.dtype(), model->device());
      mesh->shard().AllGather(shard.raw(), whole.raw(), flat.shard_size(), shard.dtype()).Wait();
    }
    const int64_t begin = flat.OffsetOf(*p);
    result[p->name] = {0, Doubles(whole.Rows(begin, begin + NumElements(p->shape)))};
  }
  return result;
}

Parts WholeGradients(Model* model, const Mesh* mesh) {
  if (mesh == nullptr) {
    for (const Parameter* p : model->parameters())
      p->var.grad();  // zeros of what no op has written
  }
  return Whole(model, mesh, [](const FlatParameters& flat) { return flat.gradient_shard(); });
}

Outcome Train(const Case& c, const Trainee& trainee) {
  Model* const model = trainee.model;
  // An epsilon at which rounding does not choose the direction of an update whose gradient is
  // almost zero.
  Optimizer optimizer(
      model, {.type = c.optimizer, .epsilon = 1e-4, .weight_decay = 0.1, .qk_clip = c.qk_clip});
  StartTraining(c, model);
  if (trainee.parallel != nullptr) trainee.parallel->ValuesChanged();
  const int64_t all = BatchesPerStep(c);
  Outcome outcome;
  for (int64_t step = 0; step < c.steps; ++step) {
    const StepResult result =
        TrainStep(model, &optimizer, trainee.Batches(step % kEpoch * all, all, MakeBatch), c.rate(),
                  1.0, step + 1, trainee.parallel);
    outcome.course.Add(result);
    if (c.qk_clip > 0) {
      outcome.logits.push_back(result.logits->max_logit);
      outcome.clipped_heads += result.logits->clipped_heads;
    }
    if (step == 0) outcome.gradients = WholeGradients(model, trainee.mesh());
  }
  outcome.masters =
      Whole(model, trainee.mesh(), [](const FlatParameters& flat) { return flat.master_shard(); });
  return outcome;
}

// Trained once for all cases that differ by their mesh alone.
const Outcome& Alone(const Case& c) {
  Case alone = c;
  alone.mesh = {1, 1, c.mesh.context > 1 ? 2 : 1};  // which the model and the rate ask for
  alone.stage = 1;
  alone.micro_batches = BatchesPerStep(c);
  return TrainAlone(alone, ConfigOf(alone),
                    [&](const Trainee& trainee) { return Train(alone, trainee); });
}

Outcome OnMesh(const Case& c) {
  return TrainOnMesh(c, ConfigOf(c), [&](const Trainee& trainee) { return Train(c, trainee); });
}

// Gradients may differ by their rounding in `exact`, if that is given.
void ExpectSame(const Case& c, double tolerance, double tolerance_at_end,
                const Outcome* exact = nullptr) {
  SCOPED_TRACE(Describe(c));
  const Outcome& expected = Alone(c);
  const Outcome got = OnMesh(c);
  // Rounding in the first steps moves the later norms more than the losses.
  const int64_t num_norms = c.dtype == DType::kFloat64 ? c.steps : 1;
  ExpectSameCourse(got.course, expected.course, num_norms, tolerance, tolerance_at_end);
  if (c.steps == kSteps) {
    EXPECT_LT(expected.course.losses.back(), 0.95 * expected.course.losses.front());
  }
  EXPECT_EQ(got.clipped_heads, expected.clipped_heads);
  EXPECT_EQ(expected.clipped_heads > 0, c.qk_clip > 0);
  ASSERT_EQ(got.logits.size(), expected.logits.size());
  for (size_t step = 0; step < got.logits.size(); ++step) {
    EXPECT_NEAR(got.logits[step] / expected.logits[step], 1, tolerance_at_end);
  }
  for (const auto& [name, gradient] : expected.gradients) {
    ASSERT_EQ(got.gradients.at(name).values.size(), gradient.values.size()) << name;
  }
  ExpectSameParts(got.gradients, expected.gradients, tolerance,
                  exact == nullptr ? nullptr : &exact->gradients);
  ExpectSameParts(got.masters, expected.masters, tolerance_at_end);
}

// Training amplifies a step's rounding over 20 steps.
TEST(TrainRanks, EveryMeshTrainsAsOneProcess) {
  for (const Case& c : Cases()) ExpectSame(c, 1e-5, 1e-3);
}

// Without that, nothing is left of a difference.
TEST(TrainRanks, EveryMeshTrainsAsOneProcessInDoublePrecision) {
  for (Case c : Cases()) {
    if (c.micro_batches == 2) continue;
    c.dtype = DType::kFloat64;
    ExpectSame(c, 1e-12, 1e-11);
  }
}

// In fp32 the directions of a gradient that are little more than rounding, which orthogonalisation
// weighs like all others, would differ; muon_test.cc compares bits from equal gradients.
TEST(TrainRanks, EveryMeshTrainsWithMuonAsOneProcess) {
  for (Case c : Cases()) {
    if (c.micro_batches != 1) continue;
    c.optimizer = OptimizerType::kMuon;
    c.qk_clip = 0.3;
    c.steps = 5;
    c.dtype = DType::kFloat64;
    ExpectSame(c, 1e-10, 1e-8);
  }
}

// Its sequences are not cut over ranks.
TEST(TrainRanks, EveryMeshTrainsMamba2AsOneProcess) {
  for (Case c : Cases()) {
    if (c.mesh.context > 1 || c.micro_batches != 1) continue;
    c.mamba2 = true;
    c.steps = 5;
    c.dtype = DType::kFloat64;
    ExpectSame(c, 1e-10, 1e-8);
  }
}

// The GPU's matmuls round otherwise for other numbers of rows. In bf16 a sum of terms that cancel,
// as the gradient of a gate's rate, has an error that depends on the order of everything before it:
// there the measure is how far one GPU in bf16 is from fp32.
TEST(TrainRanks, EveryMeshTrainsAsOneGpu) {
  if (!RanksHaveGpus()) GTEST_SKIP() << "no GPU for every rank";
  for (Case c : Cases()) {
    c.device = Device::kCuda;
    ExpectSame(c, 1e-4, 1e-2);
    const Outcome& exact = Alone(c);
    c.dtype = DType::kBf16;
    ExpectSame(c, 2e-2, 0.1, &exact);
  }
}

TEST(TrainRanks, ARepeatedRunHasTheSameBits) {
  std::vector<Case> cases;
  for (Case c : Cases()) {
    if (c.micro_batches > 1) cases.push_back(c);
    c.device = Device::kCuda;
    c.dtype = DType::kBf16;
    if (RanksHaveGpus()) cases.push_back(c);
  }
  for (const Case& c : cases) {
    SCOPED_TRACE(Describe(c));
    const Outcome first = OnMesh(c), second = OnMesh(c);
    EXPECT_EQ(first.course.losses, second.course.losses);
    EXPECT_EQ(first.course.norms, second.course.norms);
    EXPECT_EQ(first.masters, second.masters);
    // And all ranks see the same numbers.
    std::vector<double> all(static_cast<size_t>(kSteps * TheWorld().size()));
    TheWorld().host().AllGather(first.course.losses.data(), all.data(), kSteps, DType::kFloat64);
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], first.course.losses[i % kSteps]);
  }
}

// A batch of fewer tokens than ranks leaves some of them nothing to compute.
TEST(TrainRanks, RanksWithoutTokensTakePart) {
  const Batch batch{
      .tokens = {5, 7, 1}, .targets = {7, kIgnoredTarget, 2}, .cu_seqlens = {0, 0, 2, 3}};
  Case c{.mesh = {1, 1, TheWorld().size()}, .dtype = DType::kFloat64};
  Parts expected;
  for (const bool alone : {true, false}) {
    const auto model = Model::Create(ConfigOf(c), Device::kCpu, c.dtype);
    model->Initialize(3);
    auto mesh = Mesh::Create(&TheWorld(), c.mesh, Device::kCpu);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    std::unique_ptr<DataParallel> parallel;
    if (!alone) parallel = std::make_unique<DataParallel>(model.get(), mesh->get());
    Optimizer optimizer(model.get(), {});
    EXPECT_TRUE(
        TrainStep(model.get(), &optimizer, {&batch, 1}, c.rate(), 1.0, 1, parallel.get()).updated);
    const auto got = WholeGradients(model.get(), alone ? nullptr : mesh->get());
    if (alone) expected = got;
    for (const auto& [name, gradient] : expected) {
      EXPECT_LE(RelativeError(got.at(name), gradient), 1e-12) << name;
    }
  }
}

}  // namespace
}  // namespace wyvern
