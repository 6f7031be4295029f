#include "kernels/attention/latent_attention_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {

std::string LatentAttentionPlan::ToString() const {
  if (tiles_per_split == 0) {
    return absl::StrCat(row_tiles, " tiles of rows, up to ", num_splits, " splits");
  }
  return absl::StrCat(row_tiles, " tiles of rows, ", num_splits, " splits of ", tiles_per_split,
                      " tiles of keys");
}

LatentAttentionPlan ChooseLatentAttention(const LatentAttentionDesc& desc, const GpuInfo& gpu) {
  const auto ceil_div = [](int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); };
  const LatentTileSizes tile = LatentTileSizesFor(desc.bf16);
  const int key_tiles = ceil_div(desc.num_keys, tile.keys);
  LatentAttentionPlan plan;
  plan.row_tiles = ceil_div(desc.num_rows, tile.rows);
  if (desc.num_ranges > 0) plan.row_tiles *= static_cast<int>(desc.num_ranges);
  const int wanted = std::max(1, gpu.num_sms / plan.row_tiles);
  if (desc.num_ranges > 0) {
    plan.num_splits = std::min(wanted, key_tiles);
    return plan;
  }
  plan.tiles_per_split = LatentTilesPerSplit(key_tiles, wanted);
  plan.num_splits = ceil_div(key_tiles, plan.tiles_per_split);
  return plan;
}

}  // namespace wyvern
