#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/ops/moe/moe_route.h"

namespace wyvern {
namespace {

// The least difference, by more than which no score may move, that decides a token's experts or
// their order.
double Margin(const double* x, const Tensor& weight, const MoeRoute::Params& p) {
  const int64_t E = weight.dim(0), D = weight.dim(1);
  std::vector<double> z(E), biased(E);
  double sum = 0;
  for (int64_t e = 0; e < E; ++e) {
    for (int64_t i = 0; i < D; ++i) z[e] += x[i] * weight.data<double>()[e * D + i];
    sum += std::exp(z[e]);
  }
  for (int64_t e = 0; e < E; ++e) {
    const double score =
        p.score == RouterScore::kSigmoid ? 1 / (1 + std::exp(-z[e])) : std::exp(z[e]) / sum;
    biased[e] = score + (p.bias.defined() ? p.bias.data<double>()[e] : 0);
  }
  double margin = std::numeric_limits<double>::infinity();
  const auto take_gaps = [&](std::vector<double> sorted, int64_t count) {
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (int64_t j = 0; j < count && j + 1 < static_cast<int64_t>(sorted.size()); ++j) {
      margin = std::min(margin, sorted[j] - sorted[j + 1]);
    }
    return sorted;
  };
  const int64_t size = E / p.num_groups;
  std::vector<double> groups(p.num_groups), kept;
  for (int64_t g = 0; g < p.num_groups; ++g) {
    const auto first = biased.begin() + g * size;
    const auto sorted = take_gaps({first, first + size}, p.num_groups == 1 ? 0 : 2);
    groups[g] = sorted[0] + (size > 1 ? sorted[1] : 0);
  }
  const double last =
      take_gaps(groups, p.top_groups == p.num_groups
                            ? 0
                            : p.top_groups)[p.top_groups == p.num_groups ? 0 : p.top_groups - 1];
  for (int64_t e = 0; e < E; ++e) {
    if (p.top_groups == p.num_groups || groups[e / size] >= last) kept.push_back(biased[e]);
  }
  take_gaps(kept, p.experts_per_token);
  return margin;
}

}  // namespace

std::vector<OpCase<MoeRoute>> MoeRoute::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MoeRoute>> cases;
  const auto add = [&](int64_t T, int64_t D, int64_t E, Params params, double bias) {
    OpCase<MoeRoute> c;
    const bool small = T * D < 500;
    c.name = absl::StrCat(T, " x ", D, ", ", params.experts_per_token, " of ", E,
                          params.score == RouterScore::kSoftmax ? ", softmax" : "",
                          params.renormalize ? "" : ", not renormalised");
    if (params.num_groups > 1) {
      absl::StrAppend(&c.name, ", ", params.top_groups, " of ", params.num_groups, " groups");
    }
    if (bias != 0) {
      absl::StrAppend(&c.name, ", bias");
      params.bias = random.Normal({E}, 0, bias).To(DType::kFloat32).To(DType::kFloat64);
    }
    c.in.weight = random.Normal({E, D}, 0, 2 / std::sqrt(static_cast<double>(D)));
    c.in.x = Tensor::Empty({T, D}, DType::kFloat64, Device::kCpu);
    // Neither rounding nor the steps of differences may change the choice.
    const double margin = small ? 0.02 : 1e-5;
    for (int64_t t = 0; t < T; ++t) {
      Tensor row;
      do {
        row = random.Normal({D}).To(DType::kBf16).To(DType::kFloat64);
      } while (Margin(row.data<double>(), c.in.weight, params) < margin);
      c.in.x.Rows(t, t + 1).CopyFrom(row.Reshape({1, D}));
    }
    c.params = params;
    c.finite_differences = small;
    cases.push_back(std::move(c));
  };
  add(1, 1, 1, {}, 0);
  add(0, 4, 3, {.experts_per_token = 2}, 0);
  add(7, 12, 6, {.experts_per_token = 2}, 0.1);
  add(5, 9, 5, {.experts_per_token = 5, .scale = 2.446}, 0);
  add(9, 8, 8, {.experts_per_token = 3, .renormalize = false, .scale = 0.5}, 0.2);
  add(8, 16, 7, {.experts_per_token = 2, .score = RouterScore::kSoftmax}, 0);
  add(8, 16, 4, {.score = RouterScore::kSoftmax, .renormalize = false}, 0.05);
  add(9, 16, 8, {.experts_per_token = 2, .num_groups = 4, .top_groups = 2, .scale = 2.5}, 0.1);
  add(6, 16, 6, {.experts_per_token = 2, .num_groups = 6, .top_groups = 3}, 0);
  add(150, 64, 48, {.experts_per_token = 6, .num_groups = 4, .top_groups = 2}, 0.05);
  add(77, 72, 33, {.experts_per_token = 4, .score = RouterScore::kSoftmax}, 0.01);
  add(300, 256, 256, {.experts_per_token = 8, .scale = 2.446}, 0.05);
  add(33, 128, 1000, {.experts_per_token = 32}, 0);
  return cases;
}

}  // namespace wyvern
