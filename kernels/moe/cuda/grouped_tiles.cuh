// Rows of experts, cut into tiles that never hold rows of two experts; sizes are read on the
// device. An expert has as few tiles as its rows allow, and they are of nearly the same size, in
// pieces of 64 rows, so that none is loaded and multiplied for a few rows.
#pragma once

#include "kernels/common/block_scan.cuh"

namespace wyvern {

constexpr int kMaxGroups = 1024;
constexpr int kPieceRows = 64;

struct GroupTile {
  int group;
  int first;  // row
  int rows;   // of the tile
};

struct GroupTiles {
  const int32_t* offsets;  // [E + 1] device memory
  int* begins;             // [E + 1] shared memory: tiles of the groups before e
  int num_groups;
  int tile_rows;  // at most, a multiple of kPieceRows

  // By all kThreads threads of a block.
  template <int kThreads>
  __device__ __forceinline__ void Count() {
    ExclusiveScan<kThreads>(
        num_groups, [&](int e) { return CeilDiv(offsets[e + 1] - offsets[e], tile_rows); }, begins);
  }
  __device__ __forceinline__ int count() const { return begins[num_groups]; }
  // The group of tile < count().
  __device__ __forceinline__ int GroupOf(int tile) const {
    int low = 0, high = num_groups;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (begins[middle] <= tile) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
  // Tile `i` of a group.
  __device__ __forceinline__ GroupTile TileOf(int group, int i) const {
    const int begin = offsets[group], end = offsets[group + 1];
    const int64_t count = begins[group + 1] - begins[group];
    const int64_t pieces = CeilDiv(end - begin, kPieceRows);
    const int first = begin + static_cast<int>(i * pieces / count) * kPieceRows;
    const int last = begin + static_cast<int>((i + 1) * pieces / count) * kPieceRows;
    return {group, first, min(last, end) - first};
  }
  __device__ __forceinline__ GroupTile At(int tile) const {
    const int group = GroupOf(tile);
    return TileOf(group, tile - begins[group]);
  }
};

// At least as many as there are tiles, whatever the sizes of the groups.
inline int64_t MaxGroupTiles(int64_t rows, int64_t groups, int64_t tile_rows) {
  return rows / tile_rows + (groups < rows ? groups : rows);
}

}  // namespace wyvern
