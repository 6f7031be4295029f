// d_W of each expert: d_y^T x over the expert's rows, both operands read across their rows. A
// tile's sum has few steps, so that writing it takes as long as making it: it leaves through the
// copy engine, which adds it to the gradient in memory where that is asked for, while the next tile
// is multiplied. Each element is added to once.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/sm90/grouped.cuh"
#include "kernels/cuda/sm90/grouped.h"

namespace wyvern::sm90 {
namespace {

using namespace grouped;

constexpr int kSumRows = 16, kSumColumns = 32;  // of MakeSumMap's tiles, one warp's
constexpr int kSumBytes = kSumRows * kSumColumns * static_cast<int>(sizeof(float));
constexpr int kStagingBytes = 2 * kConsumers / kWarpSize * kSumBytes;  // two tiles a warp
constexpr int kBytes = SharedBytes(kStagingBytes, /*counts_tiles=*/false);

struct Maps {
  TensorMap d_y;       // [R, P N]
  TensorMap x;         // [R, K]
  TensorMap d_weight;  // [P E N, K] fp32, of MakeSumMap; unused for bf16
};

template <typename Out>
struct Params {
  const int32_t* offsets;
  Out* d_weight;  // [P, E, N, K]
  int num_matrices, num_experts, dim_in, dim_out;
  int tiles_in, tiles_out;  // of a matrix
  bool add;
};

struct Place {
  int begin, rows;  // of the expert
  int part, matrix;
  int n, k;
};
// An expert's matrices follow one another: blocks that run at the same time share its rows.
template <typename Out>
__device__ __forceinline__ Place PlaceOf(const Params<Out>& p, int tile) {
  const int across = p.tiles_in * p.tiles_out;
  const int within = tile % across, part = tile / across % p.num_matrices;
  const int e = tile / across / p.num_matrices, begin = p.offsets[e];
  return {begin,
          p.offsets[e + 1] - begin,
          part,
          part * p.num_experts + e,
          within / p.tiles_in * kBlockRows,
          within % p.tiles_in * kWideColumns};
}

template <typename Out>
__device__ __forceinline__ void Produce(const Maps& maps, const Params<Out>& p, Block& block,
                                        int num_tiles) {
  Ring ring{kStages};
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Place place = PlaceOf(p, tile);
    const int row_tiles = place.n + kTile < p.dim_out ? 2 : 1;
    const int column_tiles = min(kWideTiles, (p.dim_in - place.k) / kTile);
    for (int row = 0; row < place.rows; row += kTile, ring.Advance()) {
      Barrier& full = block.full[ring.place];
      Wait(block.empty[ring.place], ring.empty_parity());
      ArriveExpecting(full, (row_tiles + column_tiles) * kTileBytes);
      Bf16* const stage = block.Stage(ring);
      for (int i = 0; i < row_tiles; ++i) {
        CopyMatrix(stage + i * kTileElements, maps.d_y,
                   place.part * p.dim_out + place.n + i * kTile, place.begin + row, full);
      }
      for (int i = 0; i < column_tiles; ++i) {
        CopyMatrix(stage + (kGroups + i) * kTileElements, maps.x, place.k + i * kTile,
                   place.begin + row, full);
      }
    }
  }
}

// Zeros in the stage's rows from `begin` on, which are other experts', by all consumers.
__device__ __forceinline__ void ClearRows(Bf16* stage, int begin) {
  const int pieces = (kTile - begin) * 8;
  for (int i = static_cast<int>(threadIdx.x); i < kStageTiles * pieces; i += kConsumers) {
    Bf16* const tile = stage + i / pieces * kTileElements;
    *reinterpret_cast<uint4*>(tile + begin * kTile + i % pieces * 8) = make_uint4(0, 0, 0, 0);
  }
  FenceSharedWrites();
  Sync(1, kConsumers);
}

// acc += the sum over the expert's `rows`, rows > 0. The last stage is taken apart from the others,
// when nothing is under way.
__device__ __forceinline__ void SumRows(WideAccumulator& acc, Block& block, Ring& ring, int rows,
                                        int group) {
  const int before = (rows - 1) / kTile, last = rows - before * kTile;
  Multiply<Major::kOuter, Major::kOuter>(acc, block, ring, before, group);
  Wait(block.full[ring.place], ring.full_parity());
  Bf16* const stage = block.Stage(ring);
  if (last < kTile) ClearRows(stage, last);
  MultiplyStage<Major::kOuter, Major::kOuter>(acc, stage, group);
  WaitProducts<0>(acc);
  Release(block, ring.place);
  ring.Advance();
}
// The same for a warpgroup that has no results in this tile.
__device__ __forceinline__ void LetRowsPass(Block& block, Ring& ring, int rows) {
  const int before = (rows - 1) / kTile, last = rows - before * kTile;
  LetPass(block, ring, before);
  Wait(block.full[ring.place], ring.full_parity());
  if (last < kTile) ClearRows(block.Stage(ring), last);
  Release(block, ring.place);
  ring.Advance();
}

// The warpgroup's 64 rows of `columns` zeros, at most kWideColumns of them.
template <typename Out>
__device__ __forceinline__ void StoreZeros(Out* to, int64_t ld, int columns) {
  constexpr int kPer = 16 / sizeof(Out);
  const int pieces = min(columns, kWideColumns) / kPer;
  for (int i = static_cast<int>(threadIdx.x) % kWarpgroupThreads; i < kTile * pieces;
       i += kWarpgroupThreads) {
    *reinterpret_cast<uint4*>(to + i / pieces * ld + i % pieces * kPer) = make_uint4(0, 0, 0, 0);
  }
}

// The warp's 16 rows, `columns` columns of them, to the gradient's row `row` and column `column`,
// by way of the warp's two tiles at `staging`.
__device__ __forceinline__ void StoreSums(const WideAccumulator& acc, const Maps& maps,
                                          unsigned char* staging, int row, int column, int columns,
                                          bool add) {
  const int g = LaneId() / 4, t = LaneId() % 4;
  // Where even rows write part i of four, odd rows write part i ^ 2: with the swizzle, four rows
  // then cover all banks.
  const bool odd = g % 2 == 1;
#pragma unroll
  for (int chunk = 0; chunk < kWideColumns / kSumColumns; ++chunk) {
    if (chunk * kSumColumns >= columns) continue;
    float* const tile = reinterpret_cast<float*>(staging + chunk % 2 * kSumBytes);
    if (LaneId() == 0) WaitStores<1>();
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&even_part)[4] = acc.c[4 * chunk + i];
      const float(&odd_part)[4] = acc.c[4 * chunk + (i ^ 2)];
      const int piece = 2 * (odd ? i ^ 2 : i) + t / 2;
      float* const to = tile + g * kSumColumns + ((piece ^ g) << 2) + t % 2 * 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        *reinterpret_cast<float2*>(to + half * 8 * kSumColumns) =
            make_float2(odd ? odd_part[2 * half] : even_part[2 * half],
                        odd ? odd_part[2 * half + 1] : even_part[2 * half + 1]);
      }
    }
    FenceSharedWrites();
    __syncwarp();
    if (LaneId() == 0) {
      if (add) {
        AddMatrix(maps.d_weight, column + chunk * kSumColumns, row, tile);
      } else {
        StoreMatrix(maps.d_weight, column + chunk * kSumColumns, row, tile);
      }
      CommitStores();
    }
  }
}

template <typename Out>
__global__ void __launch_bounds__(kThreads, 1)
    WeightGradKernel(const __grid_constant__ Maps maps, const Params<Out> p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Block block = Enter(shared, kStagingBytes);
  __syncthreads();
  const int num_tiles = p.num_matrices * p.num_experts * p.tiles_in * p.tiles_out;
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) Produce(maps, p, block, num_tiles);
  } else {
    RaiseRegisters<kConsumerRegisters>();
    const int warp = group * 4 + WarpOfGroup();
    Ring ring{kStages};
    for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
         tile += static_cast<int>(gridDim.x)) {
      const Place place = PlaceOf(p, tile);
      const int n = place.n + group * kTile, columns = p.dim_in - place.k;
      const int64_t row = static_cast<int64_t>(place.matrix) * p.dim_out + n;
      if (n >= p.dim_out) {
        if (place.rows > 0) LetRowsPass(block, ring, place.rows);
        continue;
      }
      Out* const to = p.d_weight + row * p.dim_in + place.k;
      if (place.rows == 0) {
        if (!p.add) StoreZeros(to, p.dim_in, columns);
        continue;
      }
      WideAccumulator acc;
      Clear(acc);
      SumRows(acc, block, ring, place.rows, group);
      if constexpr (std::is_same_v<Out, float>) {
        StoreSums(acc, maps, block.staging + 2 * warp * kSumBytes,
                  static_cast<int>(row) + kSumRows * WarpOfGroup(), place.k, columns, p.add);
      } else {
        StoreRows(acc, reinterpret_cast<Bf16*>(block.staging) + group * kTileElements, to, p.dim_in,
                  kTile, columns);
      }
    }
    if (LaneId() == 0) WaitStores<0>();
  }
}

}  // namespace

template <typename Out>
void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, Out>& grad) {
  const GroupedMatmulShape& s = grad.shape;
  if (s.num_rows == 0 && grad.add) return;
  const int64_t matrices = s.num_matrices * s.num_experts;
  if (s.num_rows == 0) {  // the copy engine knows no empty tensors
    CUDA_CHECK(cudaMemsetAsync(grad.d_weight, 0, matrices * s.dim_out * s.dim_in * sizeof(Out),
                               ToStream(grad.stream)));
    return;
  }
  const Params<Out> p = {.offsets = grad.offsets,
                         .d_weight = grad.d_weight,
                         .num_matrices = static_cast<int>(s.num_matrices),
                         .num_experts = static_cast<int>(s.num_experts),
                         .dim_in = static_cast<int>(s.dim_in),
                         .dim_out = static_cast<int>(s.dim_out),
                         .tiles_in = static_cast<int>(CeilDiv<int64_t>(s.dim_in, kWideColumns)),
                         .tiles_out = static_cast<int>(CeilDiv<int64_t>(s.dim_out, kBlockRows)),
                         .add = grad.add};
  Maps maps = {MakeMatrixMap(grad.d_y, s.num_rows, s.num_matrices * s.dim_out),
               MakeMatrixMap(grad.x, s.num_rows, s.dim_in),
               {}};
  if constexpr (std::is_same_v<Out, float>) {
    maps.d_weight = MakeSumMap(grad.d_weight, matrices * s.dim_out, s.dim_in);
  }
  static const int num_sms = CurrentGpu().num_sms;
  CUDA_CHECK(cudaFuncSetAttribute(WeightGradKernel<Out>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const unsigned blocks =
      static_cast<unsigned>(std::min<int64_t>(num_sms, matrices * p.tiles_in * p.tiles_out));
  WeightGradKernel<Out><<<blocks, kThreads, kBytes, ToStream(grad.stream)>>>(maps, p);
  CUDA_CHECK_LAUNCH();
}

template void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, float>&);
template void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, Bf16>&);

}  // namespace wyvern::sm90
