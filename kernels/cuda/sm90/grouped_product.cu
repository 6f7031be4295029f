// y and d_x: rows of each expert times its matrix, as it lies in memory or transposed.
#include <algorithm>

#include "kernels/cuda/sm90/grouped.cuh"
#include "kernels/cuda/sm90/grouped.h"

namespace wyvern::sm90 {
namespace {

using namespace grouped;

constexpr int kStagingBytes = kGroups * kTileBytes;
constexpr int kBytes = SharedBytes(kStagingBytes, /*counts_tiles=*/true);

struct Maps {
  TensorMap rows;    // [R, ..]
  TensorMap weight;  // [P E N, K]
};

struct Params {
  const int32_t* offsets;
  Bf16* to;          // [R, parts columns]
  int num_experts;   // E
  int matrix_rows;   // N
  int parts;         // the results' columns: P parts of N in the forward, one of K
  int columns;       // of a part
  int column_tiles;  // of a part
  int inner_parts;   // the sum runs over one part of K in the forward, else over P of N
  int inner_steps;   // of a part
};

struct Place {
  GroupTile rows;
  int part, column;
};
// Tiles go by columns first: blocks that run at the same time share rows, and a matrix.
__device__ __forceinline__ Place PlaceOf(const Params& p, const GroupTiles& groups, int tile) {
  const int across = p.parts * p.column_tiles;
  const int column = tile % across;
  return {groups.At(tile / across), column / p.column_tiles,
          column % p.column_tiles * kWideColumns};
}

template <bool kInputGrad>
__device__ __forceinline__ void Produce(const Maps& maps, const Params& p, const GroupTiles& groups,
                                        Block& block, int num_tiles) {
  Ring ring{kStages};
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Place place = PlaceOf(p, groups, tile);
    const int row_tiles = place.rows.rows > kTile ? 2 : 1;
    const int column_tiles = min(kWideTiles, (p.columns - place.column) / kTile);
    for (int part = 0; part < p.inner_parts; ++part) {
      const int matrix = (kInputGrad ? part : place.part) * p.num_experts + place.rows.group;
      const int weight_row = matrix * p.matrix_rows;
      for (int step = 0; step < p.inner_steps; ++step, ring.Advance()) {
        Barrier& full = block.full[ring.place];
        Wait(block.empty[ring.place], ring.empty_parity());
        ArriveExpecting(full, (row_tiles + column_tiles) * kTileBytes);
        Bf16* const stage = block.Stage(ring);
        for (int i = 0; i < row_tiles; ++i) {
          CopyMatrix(stage + i * kTileElements, maps.rows, (part * p.inner_steps + step) * kTile,
                     place.rows.first + i * kTile, full);
        }
        for (int i = 0; i < column_tiles; ++i) {
          const int column = place.column + i * kTile;
          CopyMatrix(stage + (kGroups + i) * kTileElements, maps.weight,
                     kInputGrad ? column : step * kTile,
                     weight_row + (kInputGrad ? step * kTile : column), full);
        }
      }
    }
  }
}

template <bool kInputGrad>
__global__ void __launch_bounds__(kThreads, 1)
    ProductKernel(const __grid_constant__ Maps maps, const Params p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Block block = Enter(shared, kStagingBytes);
  GroupTiles groups{p.offsets, block.begins, p.num_experts, kBlockRows};
  groups.Count<kThreads>();
  const int num_tiles = groups.count() * p.parts * p.column_tiles;
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      Produce<kInputGrad>(maps, p, groups, block, num_tiles);
    }
  } else {
    RaiseRegisters<kConsumerRegisters>();
    Bf16* const staging = reinterpret_cast<Bf16*>(block.staging) + group * kTileElements;
    const int64_t width = static_cast<int64_t>(p.parts) * p.columns;
    Ring ring{kStages};
    for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
         tile += static_cast<int>(gridDim.x)) {
      const Place place = PlaceOf(p, groups, tile);
      const int rows = place.rows.rows - group * kTile;
      const int steps = p.inner_parts * p.inner_steps;
      if (rows <= 0) {
        LetPass(block, ring, steps);
        continue;
      }
      WideAccumulator acc;
      Clear(acc);
      Multiply<Major::kInner, kInputGrad ? Major::kOuter : Major::kInner>(acc, block, ring, steps,
                                                                          group);
      Bf16* const to = p.to + (place.rows.first + group * kTile) * width +
                       static_cast<int64_t>(place.part) * p.columns + place.column;
      StoreRows(acc, staging, to, width, rows, p.columns - place.column);
    }
  }
}

template <bool kInputGrad>
void Launch(const GroupedMatmulShape& s, const Bf16* rows, const Bf16* weight, Params p,
            StreamHandle stream) {
  if (s.num_rows == 0) return;
  const int64_t N = s.dim_out, K = s.dim_in, P = s.num_matrices;
  p.num_experts = static_cast<int>(s.num_experts);
  p.matrix_rows = static_cast<int>(N);
  p.parts = kInputGrad ? 1 : static_cast<int>(P);
  p.columns = static_cast<int>(kInputGrad ? K : N);
  p.column_tiles = CeilDiv(p.columns, kWideColumns);
  p.inner_parts = kInputGrad ? static_cast<int>(P) : 1;
  p.inner_steps = static_cast<int>((kInputGrad ? N : K) / kTile);
  const Maps maps = {MakeMatrixMap(rows, s.num_rows, kInputGrad ? P * N : K),
                     MakeMatrixMap(weight, P * s.num_experts * N, K)};
  static const int num_sms = CurrentGpu().num_sms;
  const int64_t tiles =
      MaxGroupTiles(s.num_rows, s.num_experts, kBlockRows) * p.parts * p.column_tiles;
  CUDA_CHECK(cudaFuncSetAttribute(ProductKernel<kInputGrad>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const unsigned blocks = static_cast<unsigned>(std::min<int64_t>(num_sms, tiles));
  ProductKernel<kInputGrad><<<blocks, kThreads, kBytes, ToStream(stream)>>>(maps, p);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

bool Serves(const GroupedMatmulShape& s, const void* a, const void* b, const void* c) {
  static const bool hopper = [] {
    const GpuInfo gpu = CurrentGpu();
    return gpu.major == 9 && gpu.minor == 0;
  }();
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const int64_t limit = int64_t{1} << 31;  // of the copies' coordinates
  return hopper && s.dim_in > 0 && s.dim_out > 0 && s.dim_in % kTile == 0 &&
         s.dim_out % kTile == 0 && s.num_rows < limit &&
         s.num_matrices * s.num_experts * s.dim_out < limit && aligned(a) && aligned(b) &&
         aligned(c);
}

void GroupedForward(const GroupedMatmulFwdParams<Bf16>& p) {
  Launch<false>(p.shape, p.x, p.weight, {.offsets = p.offsets, .to = p.y}, p.stream);
}

void GroupedInputGrad(const GroupedMatmulInputGradParams<Bf16>& p) {
  Launch<true>(p.shape, p.d_y, p.weight, {.offsets = p.offsets, .to = p.d_x}, p.stream);
}

}  // namespace wyvern::sm90
