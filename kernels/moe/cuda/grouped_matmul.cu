// Products of groups of rows: the entries, and the kernels for any size, type and GPU, whose blocks
// compute a 64 x 64 tile each.
#include "kernels/common/tile_mma.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/moe/cuda/grouped_tiles.cuh"
#include "kernels/moe/grouped_matmul_plan.h"
#include "kernels/moe/sm90/grouped.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

// The path for operands a and b and result c.
template <typename In, typename Out>
GroupedMatmulPath ChoosePath(const GroupedMatmulShape& s, const In* a, const In* b, const Out* c,
                             bool add) {
  CHECK(s.num_experts >= 1 && s.num_experts <= kMaxGroups, s.num_experts, " experts");
  CHECK(s.num_rows < int64_t{1} << 31, s.num_rows, " rows");
  const GroupedMatmulPlan plan = ChooseGroupedMatmul({.shape = s,
                                                      .bf16 = kIsBf16<In>,
                                                      .adds_to_bf16 = add && kIsBf16<Out>,
                                                      .aligned = Aligned16(a, b, c)},
                                                     CurrentGpu());
  NotePlan("grouped_matmul", plan);
  return plan.path;
}

template <typename T>
struct Tiles {
  alignas(128) T a[kTileSize<T>];
  alignas(128) T b[kTileSize<T>];
};

// A sum over any number of tiles, in two levels: the error of one chain of additions grows with its
// length, on tensor cores, which truncate, in proportion to it.
class TileSum {
 public:
  __device__ __forceinline__ TileSum() {
    Clear(recent_);
    Clear(sum_);
  }
  // Waits for what LoadTile began, and multiplies; the tiles are free again afterwards.
  template <bool kATransposed, bool kBTransposed, typename T>
  __device__ __forceinline__ void MultiplyLoaded(const Tiles<T>& tiles) {
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();
    TileMma<kATransposed, kBTransposed>(recent_, tiles.a, tiles.b);
    __syncthreads();
    if (++num_recent_ == kTilesOfChain) Flush();
  }
  __device__ __forceinline__ TileAcc& Finish() {
    Flush();
    return sum_;
  }

 private:
  static constexpr int kTilesOfChain = 4;

  __device__ __forceinline__ void Flush() {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sum_.c[i][j] += recent_.c[i][j];
    }
    Clear(recent_);
    num_recent_ = 0;
  }

  TileAcc recent_, sum_;
  int num_recent_ = 0;
};

// to[row * ld + column] = acc for row < rows, column < columns, or adds it.
template <typename Out>
__device__ __forceinline__ void StoreTileOf(TileAcc& acc, Out* to, int64_t ld, int rows,
                                            int columns, bool add) {
  ForEachPair(acc, [&](int row, int column, float x, float y) {
    if (row >= rows) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (column + i >= columns) continue;
      Out* const element = to + row * ld + column + i;
      const float value = i == 0 ? x : y;
      *element = FromFloatDevice<Out>(add ? ToFloatDevice(*element) + value : value);
    }
  });
}

__device__ __forceinline__ int Clamp(int64_t n) {
  return static_cast<int>(n < kTile ? n : int64_t{kTile});
}

// Block (row tile, column tile): the columns of y, or of d_x.
template <bool kInputGrad, typename T>
__global__ void __launch_bounds__(kTileThreads)
    RowsKernel(GroupedMatmulShape s, const int32_t* offsets, const T* from, const T* weight, T* to,
               bool vectors) {
  __shared__ Tiles<T> tiles;
  __shared__ int begins[kMaxGroups + 1];
  GroupTiles groups{offsets, begins, static_cast<int>(s.num_experts), kTile};
  groups.Count<kTileThreads>();
  if (blockIdx.x >= groups.count()) return;
  const GroupTile tile = groups.At(static_cast<int>(blockIdx.x));
  const int64_t K = s.dim_in, N = s.dim_out, width = s.num_matrices * N;
  const int64_t tiles_of_part = CeilDiv<int64_t>(kInputGrad ? K : N, kTile);
  const int64_t part = blockIdx.y / tiles_of_part, column = blockIdx.y % tiles_of_part * kTile;
  TileSum sum;
  if constexpr (kInputGrad) {
    for (int64_t p = 0; p < s.num_matrices; ++p) {
      const T* const w = weight + (p * s.num_experts + tile.group) * N * K + column;
      for (int64_t n = 0; n < N; n += kTile) {
        LoadTile(tiles.a, from + tile.first * width + p * N + n, width, tile.rows, Clamp(N - n),
                 vectors);
        LoadTile(tiles.b, w + n * K, K, Clamp(N - n), Clamp(K - column), vectors);
        sum.MultiplyLoaded<false, false>(tiles);
      }
    }
    StoreTileOf(sum.Finish(), to + tile.first * K + column, K, tile.rows, Clamp(K - column), false);
  } else {
    const T* const w = weight + ((part * s.num_experts + tile.group) * N + column) * K;
    for (int64_t k = 0; k < K; k += kTile) {
      LoadTile(tiles.a, from + tile.first * K + k, K, tile.rows, Clamp(K - k), vectors);
      LoadTile(tiles.b, w + k, K, Clamp(N - column), Clamp(K - k), vectors);
      sum.MultiplyLoaded<false, true>(tiles);
    }
    StoreTileOf(sum.Finish(), to + tile.first * width + part * N + column, width, tile.rows,
                Clamp(N - column), false);
  }
}

// Block (tile of a matrix, matrix).
template <typename In, typename Out>
__global__ void __launch_bounds__(kTileThreads)
    WeightGradKernel(GroupedMatmulWeightGradParams<In, Out> p, bool vectors) {
  __shared__ Tiles<In> tiles;
  const GroupedMatmulShape& s = p.shape;
  const int64_t K = s.dim_in, N = s.dim_out, width = s.num_matrices * N;
  const int64_t columns = CeilDiv<int64_t>(K, kTile);
  const int64_t n = blockIdx.x / columns * kTile, k = blockIdx.x % columns * kTile;
  const int64_t matrix = blockIdx.y, part = matrix / s.num_experts, e = matrix % s.num_experts;
  const int64_t end = p.offsets[e + 1];
  TileSum sum;
  for (int64_t r = p.offsets[e]; r < end; r += kTile) {
    LoadTile(tiles.a, p.d_y + r * width + part * N + n, width, Clamp(end - r), Clamp(N - n),
             vectors);
    LoadTile(tiles.b, p.x + r * K + k, K, Clamp(end - r), Clamp(K - k), vectors);
    sum.MultiplyLoaded<true, false>(tiles);
  }
  StoreTileOf(sum.Finish(), p.d_weight + (matrix * N + n) * K + k, K, Clamp(N - n), Clamp(K - k),
              p.add);
}

template <typename T>
bool MovesInVectors(const GroupedMatmulShape& s, const T* a, const T* b) {
  return RowsMoveInVectors<T>(s.dim_in) && RowsMoveInVectors<T>(s.dim_out) && Aligned16(a, b);
}

template <bool kInputGrad, typename T>
void LaunchRows(const GroupedMatmulShape& s, const int32_t* offsets, const T* from, const T* weight,
                T* to, StreamHandle stream) {
  const int64_t columns = kInputGrad ? CeilDiv<int64_t>(s.dim_in, kTile)
                                     : s.num_matrices * CeilDiv<int64_t>(s.dim_out, kTile);
  if (s.num_rows == 0 || columns == 0) return;
  const dim3 grid(static_cast<unsigned>(MaxGroupTiles(s.num_rows, s.num_experts, kTile)),
                  static_cast<unsigned>(columns));
  RowsKernel<kInputGrad><<<grid, kTileThreads, 0, ToStream(stream)>>>(
      s, offsets, from, weight, to, MovesInVectors(s, from, weight));
  CUDA_CHECK_LAUNCH();
}

}  // namespace

template <typename Io>
void GroupedMatmulFwd(CudaTag, const GroupedMatmulFwdParams<Io>& p) {
  const GroupedMatmulPath path = ChoosePath(p.shape, p.x, p.weight, p.y, /*add=*/false);
  if constexpr (kIsBf16<Io>) {
    if (path == GroupedMatmulPath::kSm90) return sm90::GroupedForward(p, CurrentGpu());
  }
  LaunchRows<false>(p.shape, p.offsets, p.x, p.weight, p.y, p.stream);
}

template <typename Io>
void GroupedMatmulInputGrad(CudaTag, const GroupedMatmulInputGradParams<Io>& p) {
  const GroupedMatmulPath path = ChoosePath(p.shape, p.d_y, p.weight, p.d_x, /*add=*/false);
  if constexpr (kIsBf16<Io>) {
    if (path == GroupedMatmulPath::kSm90) return sm90::GroupedInputGrad(p, CurrentGpu());
  }
  LaunchRows<true>(p.shape, p.offsets, p.d_y, p.weight, p.d_x, p.stream);
}

template <typename In, typename Out>
void GroupedMatmulWeightGrad(CudaTag, const GroupedMatmulWeightGradParams<In, Out>& p) {
  const GroupedMatmulShape& s = p.shape;
  const GroupedMatmulPath path = ChoosePath(s, p.d_y, p.x, p.d_weight, p.add);
  if constexpr (kIsBf16<In>) {
    if (path == GroupedMatmulPath::kSm90) return sm90::GroupedWeightGrad(p, CurrentGpu());
  }
  const int64_t tiles = CeilDiv<int64_t>(s.dim_out, kTile) * CeilDiv<int64_t>(s.dim_in, kTile);
  if (tiles == 0) return;
  const dim3 grid(static_cast<unsigned>(tiles),
                  static_cast<unsigned>(s.num_matrices * s.num_experts));
  WeightGradKernel<<<grid, kTileThreads, 0, ToStream(p.stream)>>>(p, MovesInVectors(s, p.d_y, p.x));
  CUDA_CHECK_LAUNCH();
}

template void GroupedMatmulFwd(CudaTag, const GroupedMatmulFwdParams<float>&);
template void GroupedMatmulFwd(CudaTag, const GroupedMatmulFwdParams<Bf16>&);
template void GroupedMatmulInputGrad(CudaTag, const GroupedMatmulInputGradParams<float>&);
template void GroupedMatmulInputGrad(CudaTag, const GroupedMatmulInputGradParams<Bf16>&);
template void GroupedMatmulWeightGrad(CudaTag, const GroupedMatmulWeightGradParams<float, float>&);
template void GroupedMatmulWeightGrad(CudaTag, const GroupedMatmulWeightGradParams<Bf16, Bf16>&);
template void GroupedMatmulWeightGrad(CudaTag, const GroupedMatmulWeightGradParams<Bf16, float>&);

}  // namespace wyvern
