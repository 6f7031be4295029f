// How attention over latent vectors divides its keys, as a value that can be printed and tested
// without a GPU.
#ifndef WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_PLAN_H_
#define WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_PLAN_H_

#include <cstdint>
#include <string>

#include "kernels/runtime/gpu.h"

namespace wyvern {

// Rows (a query and a head) and keys of a block's tile.
struct LatentTileSizes {
  int rows, keys;
};
constexpr LatentTileSizes LatentTileSizesFor(bool bf16) {
  return bf16 ? LatentTileSizes{32, 64} : LatentTileSizes{16, 32};
}

struct LatentAttentionDesc {
  int64_t num_rows = 0, num_keys = 0;  // both at least 1
  bool bf16 = true;
};

// Tiles of rows run beside splits of the keys, whose results are put together afterwards.
struct LatentAttentionPlan {
  int row_tiles = 0;
  int num_splits = 0, tiles_per_split = 0;  // tiles of keys; the last split may have fewer

  std::string ToString() const;
};

// As many splits as fill the SMs with one block each. Sums over keys are in another order on a GPU
// with another number of SMs.
LatentAttentionPlan ChooseLatentAttention(const LatentAttentionDesc& desc, const GpuInfo& gpu);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_PLAN_H_
