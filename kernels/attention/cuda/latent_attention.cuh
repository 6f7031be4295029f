// Declarations that the sources of MLA's absorbed attention share
// (kernels/attention/cuda/latent_attention.cu).
#pragma once

#include "kernels/attention/latent_attention_plan.h"
#include "kernels/common/common.cuh"

namespace wyvern {

// The results that the steps hand on. A row is a query and a head, row = query H + head.
template <typename Io>
struct LatentWork {
  int num_rows, num_heads, num_queries, num_keys;
  int rank, width;  // L, L + R
  int num_splits, tiles_per_split;
  float scale;       // times log2 e
  const Io* a;       // [rows, L + R] absorbed queries, then their own last R dims
  const Io* latent;  // [Tk, L + R]
  float* sums;       // [splits, rows, L] sums of exponentials times c
  float* tops;       // [splits, rows] the rows' maxima, in powers of two
  float* totals;     // [splits, rows] sums of exponentials
  bool vectors;      // 16-byte copies fit every row of a and latent

  // Keys that a row sees.
  __device__ int NumSeen(int row) const { return num_keys - num_queries + row / num_heads + 1; }
};

// Rows and keys of a block's tile.
template <typename Io>
struct LatentTiles;
template <>
struct LatentTiles<Bf16> {
  static constexpr int kRows = LatentTileSizesFor(true).rows, kKeys = LatentTileSizesFor(true).keys;
  static constexpr int kStages = 2;
};
template <>
struct LatentTiles<float> {
  static constexpr int kRows = LatentTileSizesFor(false).rows;
  static constexpr int kKeys = LatentTileSizesFor(false).keys;
  static constexpr int kStages = 1;
};

// The attention of every tile of rows to every run of keys: sums, tops and totals of `work`.
template <typename Io>
void LatentAttend(const LatentWork<Io>& work, cudaStream_t stream);

}  // namespace wyvern
