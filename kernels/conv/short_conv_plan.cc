#include "kernels/conv/short_conv_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {

std::string ShortConvPlan::ToString() const {
  return absl::StrCat(num_tiles, " tiles of ", tile, " tokens, ", across, " blocks of channels");
}

ShortConvPlan ChooseShortConv(const ShortConvDesc& desc, const GpuInfo& gpu) {
  constexpr int64_t kMinTile = 32;
  const auto ceil_div = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t resident = int64_t{gpu.num_sms} * desc.blocks_per_sm;
  ShortConvPlan plan;
  plan.across = std::max<int64_t>(1, ceil_div(desc.dim, kShortConvThreads * desc.access));
  const int64_t tiles = std::max<int64_t>(1, resident / plan.across);
  plan.tile = std::max(
      kMinTile, ceil_div(ceil_div(desc.num_tokens, tiles), kShortConvBatch) * kShortConvBatch);
  plan.num_tiles = ceil_div(desc.num_tokens, plan.tile);
  return plan;
}

}  // namespace wyvern
