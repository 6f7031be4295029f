#include "layers/moe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "layers/unit.h"
#include "tests/layers/tiny_models.h"

namespace wyvern {
namespace {

using Vector = std::vector<double>;

constexpr int64_t kTokens = 19;

// A layer with random parameters in memory of its own, as its model would give it.
struct Layer {
  explicit Layer(const ModelConfig& config) : moe(config) {
    std::vector<Parameter*> large, small;
    for (Parameter* p : moe.parameters()) (IsLarge(p->kind) ? large : small).push_back(p);
    flats[0].Allocate(large, DType::kFloat64, DType::kFloat64, Device::kCpu, true, {});
    flats[1].Allocate(small, DType::kFloat64, DType::kFloat64, Device::kCpu, true, {});
    moe.bias()->value = Tensor::Zeros(moe.bias()->shape, DType::kFloat64, Device::kCpu);
    for (Parameter* p : moe.parameters()) {
      const Random random(4, p->name);
      for (int64_t i = 0; i < p->value.numel(); ++i) {
        p->value.data<double>()[i] = 0.5 * random.Normal(i);
      }
      values[p->name] = p->value.data<double>();
    }
  }
  Moe moe;
  FlatParameters flats[2];
  std::map<std::string, const double*> values;
};

Vector Multiply(const double* w, int64_t out, const Vector& x) {
  const auto in = static_cast<int64_t>(x.size());
  Vector y(out);
  for (int64_t i = 0; i < out; ++i) {
    for (int64_t j = 0; j < in; ++j) y[i] += w[i * in + j] * x[j];
  }
  return y;
}

Vector SwiGluOf(const double* gate, const double* up, const double* down, int64_t width,
                const Vector& x) {
  Vector g = Multiply(gate, width, x);
  const Vector u = Multiply(up, width, x);
  for (int64_t i = 0; i < width; ++i) g[i] *= u[i] / (1 + std::exp(-g[i]));
  return Multiply(down, static_cast<int64_t>(x.size()), g);
}

// Token by token and expert by expert, where a bias leaves no doubt of the choice: all tokens on
// the same experts, the others without rows.
TEST(Moe, IsTheSumOfTheChosenExperts) {
  ModelConfig config = TinyModelNamed("moe");
  const int64_t D = config.hidden_size, I = config.moe->intermediate_size;
  const int64_t E = config.moe->num_experts;
  for (const auto& [k, chosen] : {std::pair<int64_t, std::vector<int64_t>>{1, {3}},
                                  {2, {3, 2}},
                                  {2, {5, 0}},
                                  {4, {1, 0, 5, 4}}}) {
    config.moe->experts_per_token = k;
    Layer layer(config);
    double* bias = layer.moe.bias()->value.data<double>();
    for (int64_t j = 0; j < k; ++j) bias[chosen[j]] = 10 + 2 * static_cast<double>(k - j);
    const Tensor loads = Tensor::Zeros({E}, DType::kInt64, Device::kCpu);
    layer.moe.RecordTo(loads, Tensor::Zeros({1}, DType::kFloat64, Device::kCpu));
    const Tensor x = Tensor::Empty({kTokens, D}, DType::kFloat64, Device::kCpu);
    const Random random(9, "x");
    for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = random.Normal(i);
    Tape tape;
    const Var y = layer.moe.Forward(
        tape, Var(x), Packing::FromDocuments({0, kTokens}, Device::kCpu), /*balance_factor=*/0);
    const auto weight = [&](const char* name) { return layer.values.at(name); };
    for (int64_t t = 0; t < kTokens; ++t) {
      const Vector row(x.data<double>() + t * D, x.data<double>() + (t + 1) * D);
      const Vector z = Multiply(weight("router.weight"), E, row);
      double sum = 0;
      for (const int64_t e : chosen) sum += 1 / (1 + std::exp(-z[e]));
      Vector expected = SwiGluOf(weight("shared.gate_proj.weight"), weight("shared.up_proj.weight"),
                                 weight("shared.down_proj.weight"), I, row);
      for (const int64_t e : chosen) {
        const Vector part = SwiGluOf(weight("experts.gate.weight") + e * I * D,
                                     weight("experts.up.weight") + e * I * D,
                                     weight("experts.down.weight") + e * I * D, I, row);
        const double w = config.moe->scale / (1 + std::exp(-z[e])) / sum;
        for (int64_t i = 0; i < D; ++i) expected[i] += w * part[i];
      }
      for (int64_t i = 0; i < D; ++i) {
        EXPECT_NEAR(y.value().data<double>()[t * D + i], expected[i], 1e-12) << t << ", " << i;
      }
    }
    // An expert without rows has a gradient of zeros.
    tape.Backward({{y, x}});
    for (const Parameter* p : layer.moe.parameters()) {
      if (p->kind != ParameterKind::kExperts) continue;
      const Tensor grad = p->var.grad();
      for (int64_t e = 0; e < E; ++e) {
        double largest = 0;
        for (const double g : grad.Rows(e, e + 1).ToVector<double>()) {
          largest = std::max(largest, std::abs(g));
        }
        const bool used = std::find(chosen.begin(), chosen.end(), e) != chosen.end();
        EXPECT_EQ(largest > 0, used) << p->name << " of expert " << e;
      }
    }
    for (int64_t e = 0; e < E; ++e) {
      const bool used = std::find(chosen.begin(), chosen.end(), e) != chosen.end();
      EXPECT_EQ(loads.data<int64_t>()[e], used ? kTokens : 0) << e;
    }
  }
}

struct Whole {
  explicit Whole(const std::string& name) {
    model = Model::Create(TinyModelNamed(name), Device::kCpu, DType::kFloat64);
    model->Initialize(3);
  }
  double Loss(bool backward) {
    const int64_t vocab = model->config().vocab_size;
    if (backward) model->ZeroGradients();
    Tape tape(backward, model->recompute());
    const Var loss =
        model
            ->Loss(tape, IdTensor(TinyIds(kTokens, vocab, 1)), IdTensor(TinyIds(kTokens, vocab, 2)),
                   Packing::FromDocuments({0, 7, 7, 8, kTokens}, Device::kCpu),
                   /*denominator=*/kTokens)
            .loss;
    if (backward) tape.Backward(loss);
    return loss.value().ToVector<double>()[0];
  }
  std::unique_ptr<Model> model;
};

TEST(Moe, LoadsAreCountedOnceInEveryBackward) {
  for (const std::string name : {"moe", "moe_softmax"}) {
    Whole whole(name);
    const MoeConfig& moe = *whole.model->config().moe;
    const auto loads = [&] { return whole.model->expert_loads().ToVector<int64_t>(); };
    whole.Loss(true);
    const std::vector<int64_t> once = loads();
    EXPECT_EQ(static_cast<int64_t>(once.size()), 2 * moe.num_experts);
    for (size_t layer = 0; layer < 2; ++layer) {
      int64_t sum = 0;
      for (int64_t e = 0; e < moe.num_experts; ++e) sum += once[layer * moe.num_experts + e];
      EXPECT_EQ(sum, kTokens * moe.experts_per_token);
    }
    whole.Loss(false);  // an evaluation is no training
    EXPECT_EQ(loads(), once);
    whole.model->RecomputeBlocks(whole.model->config().num_layers);
    whole.model->SetRecompute(RecomputePolicy::kProjections);
    whole.Loss(true);
    EXPECT_EQ(loads(), once);
  }
}

TEST(Moe, TheBalanceLossIsDifferentiatedBesideTheLoss) {
  for (const int64_t recomputed : {0, 3}) {
    Whole whole("moe");
    whole.model->RecomputeBlocks(recomputed);
    const double plain = whole.Loss(true);
    std::map<std::string, Vector> without;
    for (const Parameter* p : whole.model->parameters()) {
      without[p->name] = p->var.grad().ToVector<double>();
    }
    EXPECT_EQ(whole.model->balance_loss().ToVector<double>()[0], 0);
    const double weight = 0.7;
    whole.model->SetBalanceLoss(weight);
    EXPECT_EQ(whole.Loss(true), plain);  // reported by itself
    const double balance = whole.model->balance_loss().ToVector<double>()[0];
    // E / k of its tokens' shares at least: 1 a layer where loads are equal.
    EXPECT_GT(balance, 0.5 * weight);
    const auto at = [&](const Parameter* p, int64_t i, double offset) {
      double* x = p->value.data<double>() + i;
      const double x0 = *x;
      *x = x0 + offset;
      whole.Loss(true);
      *x = x0;
      return whole.model->balance_loss().ToVector<double>()[0];
    };
    for (const char* name : {"blocks.1.moe.router.weight", "blocks.2.moe.router.weight",
                             "blocks.1.moe.experts.up.weight", "embedding.weight"}) {
      for (const Parameter* p : whole.model->parameters()) {
        if (p->name != name) continue;
        whole.Loss(true);
        const Vector with = p->var.grad().ToVector<double>();
        const int64_t i = p->value.numel() / 2 + 1;
        const double h = 1e-4;
        const double numeric =
            (8 * (at(p, i, h) - at(p, i, -h)) - (at(p, i, 2 * h) - at(p, i, -2 * h))) / (12 * h);
        EXPECT_NEAR(with[i] - without[name][i], numeric, 1e-8) << name;
      }
    }
  }
}

TEST(Moe, ActiveParametersAreThoseOfTheChosenExperts) {
  const ModelConfig config = TinyModelNamed("moe");
  const MoeConfig& moe = *config.moe;
  const int64_t expert = 3 * config.hidden_size * moe.intermediate_size;
  EXPECT_EQ(CountParameters(config) - CountActiveParameters(config),
            2 * (moe.num_experts - moe.experts_per_token) * expert);
  EXPECT_EQ(CountParameters(TinyModelNamed("kda")), CountActiveParameters(TinyModelNamed("kda")));
}

TEST(Moe, BuffersHaveNamesAndStartAtZero) {
  Whole whole("moe");
  std::vector<std::string> names;
  for (const ModelBuffer* b : whole.model->buffers()) {
    names.push_back(b->name);
    EXPECT_EQ(b->value.ToVector<double>(), Vector(6));
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"blocks.1.moe.router.bias", "blocks.2.moe.router.bias"}));
}

}  // namespace
}  // namespace wyvern
