// Tests of routing and of plans beyond their registry rows.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "autograd/ops/moe/expert_plan.h"
#include "autograd/ops/moe/moe_route.h"

namespace wyvern {
namespace {

using Vector = std::vector<double>;

// Routes tokens whose logits are the rows of `logits`: with x the identity's rows, exactly.
MoeRoute::Outputs<Tensor> Route(const std::vector<Vector>& logits, MoeRoute::Params params) {
  const auto T = static_cast<int64_t>(logits.size()), E = static_cast<int64_t>(logits[0].size());
  const Tensor x = Tensor::Zeros({T, T}, DType::kFloat64, Device::kCpu);
  const Tensor weight = Tensor::Zeros({E, T}, DType::kFloat64, Device::kCpu);
  for (int64_t t = 0; t < T; ++t) {
    x.data<double>()[t * T + t] = 1;
    for (int64_t e = 0; e < E; ++e) weight.data<double>()[e * T + t] = logits[t][e];
  }
  return MoeRoute::Forward({.x = x, .weight = weight}, params, nullptr);
}

std::vector<int32_t> Indices(const std::vector<Vector>& logits, const MoeRoute::Params& params) {
  return Route(logits, params).indices.ToVector<int32_t>();
}

Tensor Bias(const Vector& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

TEST(MoeRoute, TiesGoToTheLowerExpert) {
  EXPECT_EQ(Indices({{1, 2, 2, 1, 2}}, {.experts_per_token = 2}), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(Indices({{0, 0, 0, 0}}, {.experts_per_token = 3}), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(Indices({{0, 0, 0, 0}}, {.experts_per_token = 3, .score = RouterScore::kSoftmax}),
            (std::vector<int32_t>{0, 1, 2}));
  // Ties between groups are broken alike.
  EXPECT_EQ(Indices({{0, 0, 0, 0}}, {.experts_per_token = 2, .num_groups = 2, .top_groups = 1}),
            (std::vector<int32_t>{0, 1}));
}

TEST(MoeRoute, TheBiasChoosesButDoesNotWeigh) {
  const auto plain = Route({{0, 1, 2, 3}}, {.experts_per_token = 2, .renormalize = false});
  EXPECT_EQ(plain.indices.ToVector<int32_t>(), (std::vector<int32_t>{3, 2}));
  const auto biased =
      Route({{0, 1, 2, 3}},
            {.experts_per_token = 2, .renormalize = false, .scale = 2, .bias = Bias({1, 0, 0, 0})});
  EXPECT_EQ(biased.indices.ToVector<int32_t>(), (std::vector<int32_t>{0, 3}));
  const Vector weights = biased.weights.ToVector<double>();
  EXPECT_DOUBLE_EQ(weights[0], 2 * 0.5);
  EXPECT_DOUBLE_EQ(weights[1], 2 / (1 + std::exp(-3.0)));
}

TEST(MoeRoute, AGroupCountsByItsTwoBestExperts) {
  // Experts 0-2 have the best one, 3-5 the best two.
  const std::vector<Vector> logits = {{5, -9, -9, 1, 1, -9}};
  EXPECT_EQ(Indices(logits, {.experts_per_token = 2, .num_groups = 2, .top_groups = 1}),
            (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(Indices(logits, {.experts_per_token = 2}), (std::vector<int32_t>{0, 3}));
  // The bias counts in a group's score.
  EXPECT_EQ(Indices(logits, {.experts_per_token = 2,
                             .num_groups = 2,
                             .top_groups = 1,
                             .bias = Bias({0, 1, 0, 0, 0, 0})}),
            (std::vector<int32_t>{1, 0}));
}

TEST(MoeRoute, NoNumberMakesATokenChooseAnExpertTwice) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Vector& logits : {Vector{nan, nan, nan, nan}, Vector{1, nan, 2, nan}}) {
    const auto chosen =
        Indices({logits}, {.experts_per_token = 3, .num_groups = 2, .top_groups = 2});
    EXPECT_EQ(std::set<int32_t>(chosen.begin(), chosen.end()).size(), 3u);
  }
  EXPECT_EQ(Indices({{1, nan, 2, nan}}, {.experts_per_token = 3}), (std::vector<int32_t>{2, 0, 1}));
}

TEST(ExpertPlan, SortsThePairsStably) {
  const std::vector<int32_t> experts = {3, 1, 1, 0, 3, 1};
  const ExpertPlan plan = ExpertPlan::Of(Tensor::FromVector(experts, {3, 2}), 5);
  EXPECT_EQ(plan.offsets.ToVector<int32_t>(), (std::vector<int32_t>{0, 1, 4, 4, 6, 6}));
  EXPECT_EQ(plan.source.ToVector<int32_t>(), (std::vector<int32_t>{3, 1, 2, 5, 0, 4}));
  EXPECT_EQ(plan.position.ToVector<int32_t>(), (std::vector<int32_t>{4, 1, 2, 0, 5, 3}));
  const Tensor loads = Tensor::FromVector(std::vector<int64_t>{0, 10, 0, 0, 1}, {5});
  AddExpertLoads(plan.offsets, loads);
  EXPECT_EQ(loads.ToVector<int64_t>(), (std::vector<int64_t>{1, 13, 0, 2, 1}));
}

TEST(Tape, AnAddedLossIsDifferentiatedOnce) {
  const auto route = [](Tape& tape, const Var& x, const Var& weight) {
    const auto out = tape.Apply<MoeRoute>({.x = x, .weight = weight}, {});
    tape.AddLoss(out.weights);
    return out.scores;
  };
  const Tensor x = Tensor::FromVector(Vector{0.3, -0.2}, {1, 2});
  const Tensor weight = Tensor::FromVector(Vector{0.5, 1, -1, 2}, {2, 2});
  const Tensor seed = Tensor::FromVector(Vector{0.25, -1}, {1, 2});
  std::vector<Vector> gradients;
  for (const bool recompute : {false, true}) {
    const Var leaf = Var::Leaf(x), w = Var::Leaf(weight);
    Tape tape;
    Var scores;
    if (recompute) {
      scores = tape.Recompute(
          [&](Tape& inner, const std::vector<Var>& in) {
            return std::vector<Var>{route(inner, in[0], w)};
          },
          {leaf})[0];
    } else {
      scores = route(tape, leaf, w);
    }
    tape.Backward({{scores, seed}});
    gradients.push_back(leaf.grad().ToVector<double>());
    gradients.push_back(w.grad().ToVector<double>());
  }
  EXPECT_EQ(gradients[0], gradients[2]);
  EXPECT_EQ(gradients[1], gradients[3]);
}

}  // namespace
}  // namespace wyvern
