// Per-channel decay factors within a chunk, split between rows and columns around anchors; the
// scheme is described in wy.cu.
#pragma once

#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {

// The row whose G anchors the block of 8 columns that starts at `column0`.
__device__ __forceinline__ int AnchorRow(int column0) { return column0 + 4; }

// tile = G of 64 channels. Rows beyond the chunk's repeat its last, so every anchor exists.
__device__ __forceinline__ void LoadGateTile(float* tile, const float* g_sum, int64_t ld,
                                             int rows) {
#pragma unroll
  for (int i = threadIdx.x; i < kTile * kTile / 4; i += kTileThreads) {
    const int r = i / (kTile / 4), c = i % (kTile / 4) * 4;
    CopyAsync16(tile + r * kTileLd<float> + c, g_sum + min(r, rows - 1) * ld + c, true);
  }
}

// exp(G_i - a) for row i and the column block at `column0`, 0 for rows before the block.
template <typename T>
__device__ __forceinline__ float RowFactor(const float* sums, int i, int column0, int channel) {
  const float factor = Exp<T>(sums[i * kTileLd<float> + channel] -
                              sums[AnchorRow(column0) * kTileLd<float> + channel]);
  return i >= column0 ? factor : 0.f;
}

// exp(a - G_j), a the anchor of j's own block.
template <typename T>
__device__ __forceinline__ float ColumnFactor(const float* sums, int j, int channel) {
  return Exp<T>(sums[AnchorRow(j / 8 * 8) * kTileLd<float> + channel] -
                sums[j * kTileLd<float> + channel]);
}

// columns = rounded r_j k_j exp(a - G_j), the column operand of every product within the chunk.
template <typename T>
__device__ __forceinline__ void AnchorColumns(T* columns, const T* k, const float* norm,
                                              const float* sums) {
  for (int i = threadIdx.x; i < kTile * kTile; i += kTileThreads) {
    const int j = i / kTile, d = i % kTile;
    columns[j * kTileLd<T> + d] = FromFloatDevice<T>(ToFloatDevice(k[j * kTileLd<T> + d]) *
                                                     (norm[j] * ColumnFactor<T>(sums, j, d)));
  }
}

}  // namespace wyvern::delta
