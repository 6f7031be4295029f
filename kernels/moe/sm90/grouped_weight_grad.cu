// d_W of each expert: d_y^T x over the expert's rows, both operands read across their rows. A
// tile's sum has few steps, so that writing it takes as long as making it: it leaves through the
// copy engine, which adds it to the gradient in memory where that is asked for, while the next tile
// is multiplied. Sums of many rows are made in runs, added one after the other. No element is added
// to by two blocks.
#include <algorithm>
#include <type_traits>

#include "kernels/moe/sm90/grouped.cuh"
#include "kernels/moe/sm90/grouped.h"

namespace wyvern::sm90 {
namespace {

using namespace grouped;

using BlockStages = Stages<1>;
constexpr int kSumRows = 16, kSumColumns = 32;  // of MakeSumMap's tiles, one warp's
constexpr int kSumBytes = kSumRows * kSumColumns * static_cast<int>(sizeof(float));

// Named barriers of a block.
enum WeightGradBarrier {
  kAllConsumers = 1,
};

struct Shared {
  Bf16 tiles[kStages][kStageTiles][kTileElements];
  unsigned char staging[2 * kConsumerWarps][kSumBytes];  // two tiles a warp
  Barrier full[kStages], empty[kStages];
};
static_assert(kConsumerWarps * 2 * kSumBytes >= kGroups * kTileBytes);  // tiles of bf16 instead

// Tensor cores truncate as they add, so that the error of a chain grows with its length: by 1e-6 of
// the sum in a thousand rows.
constexpr int kRunSteps = 1024 / kTile;

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
  int num_tiles;
  bool add;
};

struct Place {
  int begin, rows;  // of the expert
  int part, matrix;
  int n, k;
  int n_tiles;
};
// An expert's matrices follow one another: blocks that run at the same time share its rows.
template <typename Out>
__device__ __forceinline__ Place PlaceOf(const Params<Out>& p, int tile) {
  const int across = p.tiles_in * p.tiles_out;
  const int within = tile % across, part = tile / across % p.num_matrices;
  const int e = tile / across / p.num_matrices, begin = p.offsets[e];
  Place place;
  place.begin = begin;
  place.rows = p.offsets[e + 1] - begin;
  place.part = part;
  place.matrix = part * p.num_experts + e;
  place.n = within / p.tiles_in * kBlockRows;
  place.k = within % p.tiles_in * kWideColumns;
  place.n_tiles = min(kGroups, (p.dim_out - place.n) / kTile);
  return place;
}

template <typename Out>
__device__ __forceinline__ void ProduceTile(const Maps& maps, const Params<Out>& p,
                                            BlockStages& stages, const Place& place) {
  const int k_tiles = min(kWideTiles, (p.dim_in - place.k) / kTile);
  for (int row = place.begin; row < place.begin + place.rows; row += kTile) {
    stages.Fill(
        place.n_tiles, k_tiles,
        [&](Bf16* tile, int i, Barrier& full) {
          CopyMatrix(tile, maps.d_y, place.part * p.dim_out + place.n + i * kTile, row, full);
        },
        [&](Bf16* tile, int i, Barrier& full) {
          CopyMatrix(tile, maps.x, place.k + i * kTile, row, full);
        });
  }
}

// Zeros in the stage's rows from `begin` < kTile on, which are other experts', by all consumers.
__device__ __forceinline__ void ClearRows(Bf16* stage, int begin) {
  const int pieces = (kTile - begin) * 8;
  for (int i = static_cast<int>(threadIdx.x); i < kStageTiles * pieces; i += kConsumers) {
    Bf16* const tile = stage + i / pieces * kTileElements;
    *reinterpret_cast<uint4*>(tile + begin * kTile + i % pieces * 8) = make_uint4(0, 0, 0, 0);
  }
  FenceSharedWrites();
  Sync(kAllConsumers, kConsumers);
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
__device__ __forceinline__ void StoreSums(const WideAccumulator<kWideTiles>& acc, const Maps& maps,
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

// Rows 0 .. 63 of the warpgroup's `columns` columns to `to`, rows `ld` elements apart. Each warp
// takes its 16 rows through its part of `tile`.
__device__ __forceinline__ void StoreRounded(const WideAccumulator<kWideTiles>& acc, Bf16* tile,
                                             Bf16* to, int64_t ld, int columns) {
#pragma unroll
  for (int j = 0; j < kWideTiles; ++j) {
    if (j * kTile >= columns) continue;
    StoreFragment<false>(tile, ToFragment(acc, j));
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 16 * WarpOfGroup() + 4 * i + LaneId() / 8, piece = LaneId() % 8;
      *reinterpret_cast<uint4*>(to + row * ld + j * kTile + piece * 8) =
          *reinterpret_cast<const uint4*>(TileRow(tile, row, piece));
    }
    __syncwarp();
  }
}

template <typename Out>
__device__ __forceinline__ void MakeTile(const Maps& maps, const Params<Out>& p,
                                         BlockStages& stages, unsigned char* staging,
                                         const Place& place, int group) {
  const int columns = p.dim_in - place.k;
  const int64_t row = static_cast<int64_t>(place.matrix) * p.dim_out + place.n + group * kTile;
  Out* const to = p.d_weight + row * p.dim_in + place.k;
  const int steps = CeilDiv(place.rows, kTile);
  const auto clear = [&](int step) {
    const int rows = place.rows - step * kTile;
    if (rows < kTile) ClearRows(stages.Left(0), rows);
  };
  if (group >= place.n_tiles) {
    stages.LetPass(steps, clear);
    return;
  }
  if (steps == 0) {
    if (!p.add) StoreZeros(to, p.dim_in, columns);
    return;
  }
  // Rounded to bf16, a sum of any length is one run.
  const int run = std::is_same_v<Out, float> ? kRunSteps : steps;
  for (int begin = 0; begin < steps; begin += run) {
    WideAccumulator<kWideTiles> acc;
    Clear(acc);
    stages.Multiply<Major::kOuter, Major::kOuter>(acc, min(run, steps - begin), group,
                                                  [&](int step) { clear(begin + step); });
    if constexpr (std::is_same_v<Out, float>) {
      if (begin > 0 && LaneId() == 0) FinishStores();
      const int warp = group * 4 + WarpOfGroup();
      StoreSums(acc, maps, staging + 2 * warp * kSumBytes,
                static_cast<int>(row) + kSumRows * WarpOfGroup(), place.k, columns,
                p.add || begin > 0);
    } else {
      StoreRounded(acc, reinterpret_cast<Bf16*>(staging) + group * kTileElements, to, p.dim_in,
                   columns);
    }
  }
}

template <typename Out>
__global__ void __launch_bounds__(kThreads, 1)
    WeightGradKernel(const __grid_constant__ Maps maps, const Params<Out> p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Shared& s = *reinterpret_cast<Shared*>(shared);
  unsigned char* const staging = s.staging[0];
  BlockStages stages = {.tiles = s.tiles[0][0], .full = s.full, .empty = s.empty, .rank = 0};
  if (threadIdx.x == 0) {
    stages.Init();
    FenceBarrierInit();
  }
  __syncthreads();
  const int first = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      for (int tile = first; tile < p.num_tiles; tile += blocks) {
        ProduceTile(maps, p, stages, PlaceOf(p, tile));
      }
    }
  } else {
    RaiseRegisters<kConsumerRegisters>();
    for (int tile = first; tile < p.num_tiles; tile += blocks) {
      MakeTile(maps, p, stages, staging, PlaceOf(p, tile), group);
    }
    if (LaneId() == 0) WaitStores<0>();
  }
}

}  // namespace

template <typename Out>
void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, Out>& grad, const GpuInfo& gpu) {
  const GroupedMatmulShape& s = grad.shape;
  if (s.num_rows == 0 && grad.add) return;
  const int64_t matrices = s.num_matrices * s.num_experts;
  if (s.num_rows == 0) {  // the copy engine knows no empty tensors
    CUDA_CHECK(cudaMemsetAsync(grad.d_weight, 0, matrices * s.dim_out * s.dim_in * sizeof(Out),
                               ToStream(grad.stream)));
    return;
  }
  Params<Out> p = {.offsets = grad.offsets,
                   .d_weight = grad.d_weight,
                   .num_matrices = static_cast<int>(s.num_matrices),
                   .num_experts = static_cast<int>(s.num_experts),
                   .dim_in = static_cast<int>(s.dim_in),
                   .dim_out = static_cast<int>(s.dim_out),
                   .tiles_in = static_cast<int>(CeilDiv<int64_t>(s.dim_in, kWideColumns)),
                   .tiles_out = static_cast<int>(CeilDiv<int64_t>(s.dim_out, kBlockRows)),
                   .num_tiles = 0,
                   .add = grad.add};
  p.num_tiles = static_cast<int>(matrices * p.tiles_in * p.tiles_out);
  Maps maps = {MakeMatrixMap(grad.d_y, s.num_rows, s.num_matrices * s.dim_out),
               MakeMatrixMap(grad.x, s.num_rows, s.dim_in),
               {}};
  if constexpr (std::is_same_v<Out, float>) {
    maps.d_weight = MakeSumMap(grad.d_weight, matrices * s.dim_out, s.dim_in);
  }
  CUDA_CHECK(cudaFuncSetAttribute(WeightGradKernel<Out>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(sizeof(Shared))));
  const unsigned blocks = static_cast<unsigned>(std::min(gpu.num_sms, p.num_tiles));
  WeightGradKernel<Out><<<blocks, kThreads, sizeof(Shared), ToStream(grad.stream)>>>(maps, p);
  CUDA_CHECK_LAUNCH();
}

template void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, float>&, const GpuInfo&);
template void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, Bf16>&, const GpuInfo&);

}  // namespace wyvern::sm90
