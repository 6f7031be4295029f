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
  const int32_t *key_begins, *key_ends;  // of each query; null: one document
};

// A document as its blocks see it: all queries, or one of several that have ranges of keys.
template <typename Io>
struct LatentDocument {
  int row_begin, row_end, num_keys;
  int num_splits, tiles_per_split;
  bool one_query;
  const Io* latent;

  // Keys that a row sees.
  __device__ int NumSeen(const LatentWork<Io>& work, int row) const {
    return one_query ? num_keys : num_keys - work.num_queries + row / work.num_heads + 1;
  }
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

// Document n of those with ranges, or the one.
template <typename Io>
__device__ LatentDocument<Io> GetLatentDocument(const LatentWork<Io>& work, int n) {
  if (work.key_begins == nullptr) {
    return {0,     work.num_rows, work.num_keys, work.num_splits, work.tiles_per_split,
            false, work.latent};
  }
  const int begin = work.key_begins[n], keys = work.key_ends[n] - begin;
  const int key_tiles = CeilDiv(keys, LatentTiles<Io>::kKeys);
  const int per_split = LatentTilesPerSplit(key_tiles, work.num_splits);
  return {n * work.num_heads,
          (n + 1) * work.num_heads,
          keys,
          CeilDiv(key_tiles, per_split),
          per_split,
          true,
          work.latent + static_cast<int64_t>(begin) * work.width};
}

// The attention of every tile of rows to every run of keys: sums, tops and totals of `work`.
template <typename Io>
void LatentAttend(const LatentWork<Io>& work, cudaStream_t stream);

}  // namespace wyvern
