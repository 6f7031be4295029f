// Cases of the ops that work on rows in the order of an expert plan.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/moe/grouped_matmul.h"
#include "autograd/ops/moe/moe_balance.h"
#include "autograd/ops/moe/moe_combine.h"
#include "autograd/ops/moe/moe_permute.h"

namespace wyvern {
namespace {

enum class Routing { kRandom, kOneExpert, kFewExperts };

struct Routed {
  int64_t T, k, E;
  Routing routing;
  const char* name;
};

constexpr Routed kRouted[] = {
    {1, 1, 1, Routing::kRandom, "one token"},
    {0, 2, 3, Routing::kRandom, "no tokens"},
    {7, 2, 5, Routing::kRandom, "few"},
    {13, 3, 4, Routing::kRandom, "most experts"},
    {9, 1, 4, Routing::kOneExpert, "all on one expert"},
    {20, 2, 16, Routing::kFewExperts, "experts without rows"},
    {300, 8, 64, Routing::kRandom, "many"},
};

// k different experts of each token.
ExpertPlan PlanOf(const Routed& c, CaseRandom* random) {
  const int64_t usable = c.routing == Routing::kRandom      ? c.E
                         : c.routing == Routing::kOneExpert ? 1
                                                            : c.k + 1;
  std::vector<int32_t> indices;
  for (int64_t t = 0; t < c.T; ++t) {
    const size_t first = indices.size();
    while (indices.size() < first + c.k) {
      // Only the last ones, so that the first experts have no rows.
      const auto e = static_cast<int32_t>(c.E - 1 - random->Below(usable));
      if (std::find(indices.begin() + first, indices.end(), e) == indices.end()) {
        indices.push_back(e);
      }
    }
  }
  return ExpertPlan::Of(ToTensor(indices), c.E);
}

std::vector<int64_t> Widths(const Routed& c) {
  return c.T < 100 ? std::vector<int64_t>{5, 24} : std::vector<int64_t>{72, 129};
}

}  // namespace

std::vector<OpCase<MoePermute>> MoePermute::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MoePermute>> cases;
  for (const Routed& routed : kRouted) {
    for (const int64_t D : Widths(routed)) {
      OpCase<MoePermute> c;
      c.name = absl::StrCat(routed.name, ", D ", D);
      c.in.x = random.Normal({routed.T, D});
      c.params.position = PlanOf(routed, &random).position;
      c.finite_differences = routed.T < 100;
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

std::vector<OpCase<MoeCombine>> MoeCombine::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MoeCombine>> cases;
  for (const Routed& routed : kRouted) {
    for (const int64_t D : Widths(routed)) {
      for (const bool shared : {false, true}) {
        OpCase<MoeCombine> c;
        c.name = absl::StrCat(routed.name, ", D ", D, shared ? ", shared" : "");
        c.in.rows = random.Normal({routed.T * routed.k, D});
        c.in.weights = random.Uniform({routed.T, routed.k}, 0.1, 1);
        if (shared) c.in.shared = random.Normal({routed.T, D});
        c.params.position = PlanOf(routed, &random).position;
        c.finite_differences = routed.T < 100;
        cases.push_back(std::move(c));
        if (routed.k > 1) continue;
        OpCase<MoeCombine> plain = cases.back();
        absl::StrAppend(&plain.name, ", without weights");
        plain.in.weights = Tensor();
        cases.push_back(std::move(plain));
      }
    }
  }
  return cases;
}

std::vector<OpCase<GroupedMatMul>> GroupedMatMul::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<GroupedMatMul>> cases;
  const auto add = [&](const Routed& routed, int64_t K, int64_t N, int64_t matrices) {
    OpCase<GroupedMatMul> c;
    c.name = absl::StrCat(routed.name, ", ", K, " to ", matrices, " x ", N);
    c.in.x = random.Normal({routed.T * routed.k, K});
    c.in.weight = random.Normal({matrices * routed.E, N, K});
    c.params.offsets = PlanOf(routed, &random).offsets;
    c.finite_differences = routed.T < 100 && K < 20;
    cases.push_back(std::move(c));
  };
  for (const Routed& routed : kRouted) {
    for (const int64_t matrices : {1, 2}) {
      if (routed.T < 100) add(routed, 5, 3, matrices);
      add(routed, 24, 40, matrices);
    }
  }
  // Whole tiles and several of them, with ragged ends.
  add({700, 2, 3, Routing::kRandom, "long groups"}, 256, 128, 2);
  add({513, 1, 2, Routing::kOneExpert, "one long group"}, 128, 320, 1);
  add({260, 4, 32, Routing::kFewExperts, "long groups and empty ones"}, 136, 264, 2);
  return cases;
}

std::vector<OpCase<MoeBalance>> MoeBalance::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MoeBalance>> cases;
  const auto add = [&](std::vector<int32_t> cu_seqlens, int64_t E, int64_t k) {
    OpCase<MoeBalance> c;
    const int64_t T = cu_seqlens.back();
    c.name = absl::StrCat(T, " tokens, ", cu_seqlens.size() - 1, " documents, ", k, " of ", E);
    // Scores further from each other than the steps of differences move them.
    c.in.scores = Tensor::Empty({T, E}, DType::kFloat64, Device::kCpu);
    for (int64_t t = 0; t < T; ++t) {
      double* row = c.in.scores.data<double>() + t * E;
      for (int64_t e = 0; e < E; ++e) row[e] = 0.05 + 0.05 * static_cast<double>(e);
      for (int64_t e = E - 1; e > 0; --e) std::swap(row[e], row[random.Below(e + 1)]);
    }
    c.params = {.cu_seqlens = ToTensor(cu_seqlens), .experts_per_token = k, .factor = 0.3};
    c.finite_differences = T < 100;
    cases.push_back(std::move(c));
  };
  add({0, 1}, 1, 1);
  add({0, 0}, 3, 2);
  add({0, 4, 4, 5, 12}, 6, 2);
  add({0, 20, 21}, 5, 4);
  add({0, 100, 100, 230, 300}, 40, 6);
  return cases;
}

}  // namespace wyvern
