#include "kernels/matmul/gemm_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace wyvern {
namespace {

// Below this a launch is too short for the model of waves.
constexpr int64_t kSmallest = 1024;
// From here on the tail of a tile that nothing overlaps is short beside its sums.
constexpr int64_t kLongSums = 4096;
// The rates of the library's own choice, whose tile need not be one of these.
constexpr double kShortRate = 0.90, kLongRate = 0.97;

// The share of the machine's time that computes elements of D: a last wave may be partly empty, and
// tiles at the edges partly outside.
double Fill(const GemmDesc& d, const GemmTile& tile, int64_t num_sms) {
  const auto count = [](int64_t all, int64_t part) { return (all + part - 1) / part; };
  const int64_t tiles = d.batch * count(d.m, tile.rows) * count(d.n, tile.columns);
  const int64_t slots = count(tiles, num_sms) * num_sms;
  return static_cast<double>(d.batch * d.m * d.n) /
         static_cast<double>(slots * tile.rows * tile.columns);
}

}  // namespace

std::string GemmPlan::ToString() const {
  const std::string batch = desc.batch > 1 ? absl::StrCat(desc.batch, " x ") : "";
  const std::string kernel =
      tile < 0 ? "the library's choice"
               : absl::StrCat("tile ", kGemmTiles[tile].rows, "x", kGemmTiles[tile].columns);
  return absl::StrFormat("%s[%d, %d], sums of %d: %s, expected rate %.2f", batch, desc.m, desc.n,
                         desc.k, kernel, rate);
}

std::vector<GemmPlan> ChooseGemm(const GemmDesc& d, const GpuInfo& gpu) {
  const bool long_sums = d.k >= kLongSums;
  const GemmPlan own = {d, -1, d.heuristic_fill * (long_sums ? kLongRate : kShortRate)};
  std::vector<GemmPlan> plans;
  if (d.bf16 && d.tileable && gpu.RunsSm90() && std::min({d.m, d.n, d.k}) >= kSmallest) {
    for (int i = 0; i < kNumGemmTiles; ++i) {
      const GemmTile& tile = kGemmTiles[i];
      const double rate =
          Fill(d, tile, gpu.num_sms) * (long_sums ? tile.long_rate : tile.short_rate);
      if (rate > own.rate) plans.push_back({d, i, rate});
    }
    std::stable_sort(plans.begin(), plans.end(),
                     [](const GemmPlan& a, const GemmPlan& b) { return a.rate > b.rate; });
  }
  plans.push_back(own);
  return plans;
}

}  // namespace wyvern
