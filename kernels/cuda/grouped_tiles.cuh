// Rows of experts, cut into tiles that never hold rows of two experts; sizes are read on the
// device.
#pragma once

#include "kernels/cuda/block_scan.cuh"

namespace wyvern {

constexpr int kMaxGroups = 1024;

struct GroupTile {
  int group;
  int first;  // row
  int rows;   // of the tile
};

struct GroupTiles {
  const int32_t* offsets;  // [E + 1] device memory
  int* begins;             // [E + 1] shared memory: tiles of the groups before e
  int num_groups, tile_rows;

  // By all kThreads threads of a block.
  template <int kThreads>
  __device__ __forceinline__ void Count() {
    ExclusiveScan<kThreads>(
        num_groups, [&](int e) { return CeilDiv(offsets[e + 1] - offsets[e], tile_rows); }, begins);
  }
  __device__ __forceinline__ int count() const { return begins[num_groups]; }
  // tile < count()
  __device__ __forceinline__ GroupTile At(int tile) const {
    int low = 0, high = num_groups;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (begins[middle] <= tile) {
        low = middle;
      } else {
        high = middle;
      }
    }
    const int first = offsets[low] + (tile - begins[low]) * tile_rows;
    return {low, first, min(tile_rows, offsets[low + 1] - first)};
  }
};

// At least as many as there are tiles, whatever the sizes of the groups.
inline int64_t MaxGroupTiles(int64_t rows, int64_t groups, int64_t tile_rows) {
  return rows / tile_rows + (groups < rows ? groups : rows);
}

}  // namespace wyvern
