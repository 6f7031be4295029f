// The cases of a mixture of experts that `wyvern bench ops` times: the layer of Kimi Linear
// 48B-A3B, 256 experts of width 1,024 with 8 a token, on 16,384 tokens; on the CPU a small one.
#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/moe/grouped_matmul.h"
#include "autograd/ops/moe/moe_balance.h"
#include "autograd/ops/moe/moe_combine.h"
#include "autograd/ops/moe/moe_permute.h"
#include "autograd/ops/moe/moe_route.h"

namespace wyvern {
namespace {

// The sizes that all have.
BenchShape LayerShape(Device device, std::initializer_list<BenchShape::Size> own) {
  const bool small = device == Device::kCpu;
  std::vector<BenchShape::Size> sizes = {{"tokens", small ? 256 : 16384},
                                         {"experts", small ? 16 : 256},
                                         {"experts_per_token", small ? 4 : 8}};
  sizes.insert(sizes.end(), own);
  return BenchShape(std::move(sizes));
}

BenchShape::Size Width(Device device) { return {"width", device == Device::kCpu ? 128 : 2304}; }

absl::Status Check(const BenchShape& s) {
  if (s["experts_per_token"] <= s["experts"]) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(s["experts_per_token"], " of ", s["experts"], " experts a token"));
}

// How rows spread over experts: each token's experts begin at a random one, so that groups are of
// uneven sizes; evenly; or all on one.
enum Spread : int64_t { kUneven, kEven, kOne };

ExpertPlan PlanOf(const BenchShape& s, int64_t spread = kUneven) {
  const int64_t E = s["experts"], k = s["experts_per_token"];
  CaseRandom random("bench experts");
  std::vector<int32_t> indices;
  for (int64_t t = 0; t < s["tokens"]; ++t) {
    const int64_t first = spread == kUneven ? random.Below(E) : t % E;
    for (int64_t j = 0; j < k; ++j) {
      indices.push_back(spread == kOne ? 0 : static_cast<int32_t>((first + j * (E / k)) % E));
    }
  }
  return ExpertPlan::Of(ToTensor(indices), E);
}

std::string NameOf(const BenchShape& s) {
  return absl::StrCat(s["tokens"], " x ", s["width"], ", ", s["experts_per_token"], " of ",
                      s["experts"]);
}

}  // namespace

std::vector<BenchShape> MoeRoute::BenchShapes(Device device) {
  return {LayerShape(device, {Width(device)})};
}

absl::StatusOr<BenchCase<MoeRoute>> MoeRoute::BenchCaseOf(const BenchShape& s) {
  RETURN_IF_ERROR(Check(s));
  BenchCase<MoeRoute> c;
  c.name = NameOf(s);
  c.in.x.shape = {s["tokens"], s["width"]};
  c.in.weight = Weight({s["experts"], s["width"]});
  c.params = {.experts_per_token = s["experts_per_token"], .scale = 2.446};
  c.unused_outputs = {"scores"};
  return c;
}

std::vector<BenchShape> MoePermute::BenchShapes(Device device) {
  return {LayerShape(device, {Width(device)})};
}

absl::StatusOr<BenchCase<MoePermute>> MoePermute::BenchCaseOf(const BenchShape& s) {
  RETURN_IF_ERROR(Check(s));
  BenchCase<MoePermute> c;
  c.name = NameOf(s);
  c.in.x.shape = {s["tokens"], s["width"]};
  c.params.position = PlanOf(s).position;
  return c;
}

std::vector<BenchShape> MoeCombine::BenchShapes(Device device) {
  return {LayerShape(device, {Width(device)})};
}

absl::StatusOr<BenchCase<MoeCombine>> MoeCombine::BenchCaseOf(const BenchShape& s) {
  RETURN_IF_ERROR(Check(s));
  const int64_t T = s["tokens"], k = s["experts_per_token"];
  BenchCase<MoeCombine> c;
  c.name = NameOf(s);
  c.in.rows.shape = {T * k, s["width"]};
  c.in.weights = {.shape = {T, k}, .mean = 0.3, .stddev = 0.05};
  c.in.shared.shape = {T, s["width"]};
  c.params.position = PlanOf(s).position;
  return c;
}

// Gate and up, which are two matrices an expert, and down.
std::vector<BenchShape> GroupedMatMul::BenchShapes(Device device) {
  const int64_t width = Width(device).value, hidden = device == Device::kCpu ? 64 : 1024;
  const BenchShape up = LayerShape(device, {{"matrices", 2},
                                            {"dim_in", width},
                                            {"dim_out", hidden},
                                            {.key = "rows", .choices = {"uneven", "even", "one"}}});
  return {up, up.With({{"matrices", 1}, {"dim_in", hidden}, {"dim_out", width}})};
}

absl::StatusOr<BenchCase<GroupedMatMul>> GroupedMatMul::BenchCaseOf(const BenchShape& s) {
  RETURN_IF_ERROR(Check(s));
  const int64_t rows = s["tokens"] * s["experts_per_token"], P = s["matrices"];
  BenchCase<GroupedMatMul> c;
  c.name = absl::StrCat(rows, " x ", s["dim_in"], " to ", P > 1 ? absl::StrCat(P, " x ") : "",
                        s["dim_out"], ", ", s["experts"], " experts");
  c.in.x.shape = {rows, s["dim_in"]};
  c.in.weight = Weight({P * s["experts"], s["dim_out"], s["dim_in"]});
  c.params.offsets = PlanOf(s, s["rows"]).offsets;
  return c;
}

std::vector<BenchShape> MoeBalance::BenchShapes(Device device) {
  return {LayerShape(device, {{"documents", device == Device::kCpu ? 2 : 4}})};
}

absl::StatusOr<BenchCase<MoeBalance>> MoeBalance::BenchCaseOf(const BenchShape& s) {
  RETURN_IF_ERROR(Check(s));
  ASSIGN_OR_RETURN(const std::vector<int32_t> offsets, OffsetsOf(s));
  BenchCase<MoeBalance> c;
  c.name = absl::StrCat(s["tokens"], " x ", s["experts"]);
  c.in.scores = {.shape = {s["tokens"], s["experts"]}, .mean = 0.5, .stddev = 0.05};
  c.params = {.cu_seqlens = ToTensor(offsets), .experts_per_token = s["experts_per_token"]};
  return c;
}

}  // namespace wyvern
