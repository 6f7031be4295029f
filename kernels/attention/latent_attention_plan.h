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
  int64_t num_rows = 0, num_keys = 0;  // of a document, both at least 1
  bool bf16 = true;
  // Documents whose keys are given by ranges; 0: there is one, without ranges.
  int64_t num_ranges = 0;
};

// Tiles of rows run beside splits of the keys, whose results are put together afterwards.
struct LatentAttentionPlan {
  int row_tiles = 0;
  // Tiles of keys; the last split may have fewer. With ranges, whose lengths the host does not
  // know, num_splits is the most that there are, and LatentTilesPerSplit gives the tiles of each.
  int num_splits = 0, tiles_per_split = 0;

  std::string ToString() const;
};

// Divides `key_tiles` tiles, at least 1, into at most `splits` splits.
constexpr int LatentTilesPerSplit(int key_tiles, int splits) {
  const int most = splits < key_tiles ? splits : key_tiles;
  return (key_tiles + most - 1) / most;
}

// As many splits as fill the SMs with one block each. Sums over keys are in another order on a GPU
// with another number of SMs.
LatentAttentionPlan ChooseLatentAttention(const LatentAttentionDesc& desc, const GpuInfo& gpu);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_PLAN_H_
