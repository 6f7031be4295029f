// What `wyvern bench ops` times of a mixture of experts: the layer of Kimi Linear 48B-A3B, 256
// experts of width 1,024 with 8 a token, on 16,384 tokens; on the CPU a small one.
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/moe/grouped_matmul.h"
#include "autograd/ops/moe/moe_balance.h"
#include "autograd/ops/moe/moe_combine.h"
#include "autograd/ops/moe/moe_permute.h"
#include "autograd/ops/moe/moe_route.h"

namespace wyvern {
namespace {

struct Size {
  int64_t T, D, I, E, k;
  int32_t num_docs;
};

Size SizeOn(Device device) {
  if (device == Device::kCuda) return {16384, 2304, 1024, 256, 8, 4};
  return {256, 128, 64, 16, 4, 2};
}

// Each token's experts follow one another from a random one on: groups of uneven sizes.
ExpertPlan PlanOf(const Size& s) {
  CaseRandom random("bench experts");
  std::vector<int32_t> indices;
  for (int64_t t = 0; t < s.T; ++t) {
    const int64_t first = random.Below(s.E);
    for (int64_t j = 0; j < s.k; ++j) {
      indices.push_back(static_cast<int32_t>((first + j * (s.E / s.k)) % s.E));
    }
  }
  return ExpertPlan::Of(ToTensor(indices), s.E);
}

std::string NameOf(const Size& s) { return absl::StrCat(s.T, " x ", s.D, ", ", s.k, " of ", s.E); }

}  // namespace

std::vector<BenchCase<MoeRoute>> MoeRoute::BenchCases(Device device) {
  const Size s = SizeOn(device);
  BenchCase<MoeRoute> c;
  c.name = NameOf(s);
  c.in.x.shape = {s.T, s.D};
  c.in.weight = Weight({s.E, s.D});
  c.params = {.experts_per_token = s.k, .scale = 2.446};
  c.unused_outputs = {"scores"};
  return {c};
}

std::vector<BenchCase<MoePermute>> MoePermute::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const ExpertPlan plan = PlanOf(s);
  return {{.name = NameOf(s),
           .in = {.x = {.shape = {s.T, s.D}}},
           .params = {.position = plan.position}}};
}

std::vector<BenchCase<MoeCombine>> MoeCombine::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const ExpertPlan plan = PlanOf(s);
  BenchCase<MoeCombine> c;
  c.name = NameOf(s);
  c.in.rows.shape = {s.T * s.k, s.D};
  c.in.weights = {.shape = {s.T, s.k}, .mean = 0.3, .stddev = 0.05};
  c.in.shared.shape = {s.T, s.D};
  c.params = {.position = plan.position};
  return {c};
}

std::vector<BenchCase<GroupedMatMul>> GroupedMatMul::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const ExpertPlan plan = PlanOf(s);
  BenchCase<GroupedMatMul> up, down;
  up.name = absl::StrCat(s.T * s.k, " x ", s.D, " to 2 x ", s.I, ", ", s.E, " experts");
  up.in.x.shape = {s.T * s.k, s.D};
  up.in.weight = Weight({2 * s.E, s.I, s.D});
  up.params.offsets = plan.offsets;
  down.name = absl::StrCat(s.T * s.k, " x ", s.I, " to ", s.D, ", ", s.E, " experts");
  down.in.x.shape = {s.T * s.k, s.I};
  down.in.weight = Weight({s.E, s.D, s.I});
  down.params.offsets = plan.offsets;
  return {up, down};
}

std::vector<BenchCase<MoeBalance>> MoeBalance::BenchCases(Device device) {
  const Size s = SizeOn(device);
  BenchCase<MoeBalance> c;
  c.name = absl::StrCat(s.T, " x ", s.E);
  c.in.scores = {.shape = {s.T, s.E}, .mean = 0.5, .stddev = 0.05};
  c.params = {.cu_seqlens = ToTensor(Offsets(s.num_docs, static_cast<int32_t>(s.T / s.num_docs))),
              .experts_per_token = s.k};
  return {c};
}

}  // namespace wyvern
