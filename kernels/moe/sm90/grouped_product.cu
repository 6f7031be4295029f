// y and d_x: rows of each expert times its matrix, as it lies in memory or transposed. Results are
// made transposed: their columns are the left operand's rows, and the expert's rows, of which a
// tile may have fewer than 256, the width of the GEMMs. Pairs of blocks make 256 x 256 results
// and share the rows, so that a block takes 32 KB a stage from the L2 cache, and one alone 48.
#include <algorithm>

#include "kernels/moe/cuda/grouped_tiles.cuh"
#include "kernels/moe/sm90/grouped.cuh"
#include "kernels/moe/sm90/grouped.h"
#include "kernels/runtime/allocator.h"

namespace wyvern::sm90 {
namespace {

using namespace grouped;

using PairStages = Stages<kPair>;
constexpr int kPairRows = kPair * kBlockRows;

// Named barriers of a block.
enum ProductBarrier {
  kConsumerGroup = 1,  // the first consumer warpgroup; the next number is the second's
};

struct Shared {
  Bf16 tiles[kStages][kStageTiles][kTileElements];
  Bf16 staging[kGroups][kTileElements];
  Barrier full[kStages], empty[kStages];                 // of the stages
  Barrier ready[Queue::kPlaces], taken[Queue::kPlaces];  // of the queue, as `given`
  int given[Queue::kPlaces];
  int begins[kMaxGroups + 1];  // of GroupTiles
};

// Tiles of rows that all columns are made of before the next ones of the expert.
constexpr int kRowTilesTogether = 8;

struct Maps {
  TensorMap rows;    // [R, ..]
  TensorMap weight;  // [P E N, K]
};

struct Params {
  const int32_t* offsets;
  Bf16* to;          // [R, parts columns]
  int* next;         // of Queue
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
  int part, column;  // of the block
  int row_tiles;
  int column_tiles;  // of the block, which may have none
};
// Tiles go by experts, in these by rows first: pairs that run at the same time share a matrix.
__device__ __forceinline__ Place PlaceOf(const Params& p, const GroupTiles& groups, int tile,
                                         int rank) {
  const int across = p.parts * p.column_tiles, group = groups.GroupOf(tile / across);
  const int begin = groups.begins[group], count = groups.begins[group + 1] - begin;
  const int within = tile - begin * across;
  const int first = within / (kRowTilesTogether * across) * kRowTilesTogether;
  const int together = min(kRowTilesTogether, count - first), rest = within - first * across;
  const int column = rest / together;
  Place place;
  place.rows = groups.TileOf(group, first + rest % together);
  place.part = column / p.column_tiles;
  place.column = column % p.column_tiles * kPairRows + rank * kBlockRows;
  place.row_tiles = CeilDiv(place.rows.rows, kTile);
  place.column_tiles = max(0, min(kGroups, (p.columns - place.column) / kTile));
  return place;
}

struct Block {
  PairStages stages;
  Queue queue;
  GroupTiles groups;
  Bf16* staging;
};

template <bool kInputGrad>
__device__ __forceinline__ void ProduceTile(const Maps& maps, const Params& p, Block& block,
                                            const Place& place) {
  for (int part = 0; part < p.inner_parts; ++part) {
    const int matrix = (kInputGrad ? part : place.part) * p.num_experts + place.rows.group;
    const int weight_row = matrix * p.matrix_rows;
    for (int step = 0; step < p.inner_steps; ++step) {
      block.stages.Fill(
          place.column_tiles, place.row_tiles,
          [&](Bf16* tile, int i, Barrier& full) {
            const int column = place.column + i * kTile;
            CopyMatrix(tile, maps.weight, kInputGrad ? column : step * kTile,
                       weight_row + (kInputGrad ? step * kTile : column), full);
          },
          [&](Bf16* tile, int i, Barrier& full) {
            CopyMatrixToPair(tile, maps.rows, (part * p.inner_steps + step) * kTile,
                             place.rows.first + i * kTile, full);
          });
    }
  }
}

// By one thread of each block. A pair's first tile is its number, so that the queue begins behind
// them; it is asked for a tile while the one before is loaded.
template <bool kInputGrad>
__device__ __forceinline__ void Produce(const Maps& maps, const Params& p, Block& block) {
  const int pairs = static_cast<int>(gridDim.x) / kPair, rank = block.stages.rank;
  if (rank == 0) {
    int number = static_cast<int>(blockIdx.x) / kPair;
    while ((number = block.queue.Give(number)) != Queue::kEnd) {
      const int after = pairs + block.queue.Ask();
      ProduceTile<kInputGrad>(maps, p, block, PlaceOf(p, block.groups, number, rank));
      number = after;
    }
  } else {
    int number;
    while ((number = block.queue.Receive()) != Queue::kEnd) {
      ProduceTile<kInputGrad>(maps, p, block, PlaceOf(p, block.groups, number, rank));
    }
  }
}

// The warpgroup's 64 columns of `rows` rows to `to`, rows `ld` elements apart, by way of `tile`.
template <int kTiles>
__device__ __forceinline__ void StoreRows(const WideAccumulator<kTiles>& acc, Bf16* tile, Bf16* to,
                                          int64_t ld, int rows, int group) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroupThreads;
  const int first = thread / 8, piece = thread % 8;
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    Sync(kConsumerGroup + group, kWarpgroupThreads);
    StoreFragment<true>(tile, ToFragment(acc, j));
    Sync(kConsumerGroup + group, kWarpgroupThreads);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first + 16 * i;
      if (j * kTile + row < rows) {
        *reinterpret_cast<uint4*>(to + (j * kTile + row) * ld + piece * 8) =
            *reinterpret_cast<const uint4*>(TileRow(tile, row, piece));
      }
    }
  }
}

template <bool kInputGrad, int kTiles>
__device__ __forceinline__ void MakeTile(const Params& p, Block& block, const Place& place,
                                         int group) {
  WideAccumulator<kTiles> acc;
  Clear(acc);
  block.stages.Multiply<kInputGrad ? Major::kOuter : Major::kInner, Major::kInner>(
      acc, p.inner_parts * p.inner_steps, group, [](int) {});
  const int64_t width = static_cast<int64_t>(p.parts) * p.columns;
  Bf16* const to = p.to + place.rows.first * width + static_cast<int64_t>(place.part) * p.columns +
                   place.column + group * kTile;
  StoreRows(acc, block.staging + group * kTileElements, to, width, place.rows.rows, group);
}

template <bool kInputGrad>
__device__ __forceinline__ void Consume(const Params& p, Block& block, int group) {
  int number;
  while ((number = block.queue.Take()) != Queue::kEnd) {
    const Place place = PlaceOf(p, block.groups, number, block.stages.rank);
    if (group >= place.column_tiles) {
      block.stages.LetPass(p.inner_parts * p.inner_steps, [](int) {});
    } else if (place.row_tiles == 1) {
      MakeTile<kInputGrad, 1>(p, block, place, group);
    } else if (place.row_tiles == 2) {
      MakeTile<kInputGrad, 2>(p, block, place, group);
    } else if (place.row_tiles == 3) {
      MakeTile<kInputGrad, 3>(p, block, place, group);
    } else {
      MakeTile<kInputGrad, 4>(p, block, place, group);
    }
  }
}

template <bool kInputGrad>
__global__ void __launch_bounds__(kThreads, 1)
    ProductKernel(const __grid_constant__ Maps maps, const Params p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Shared& s = *reinterpret_cast<Shared*>(shared);
  Block block;
  block.stages = {.tiles = s.tiles[0][0], .full = s.full, .empty = s.empty, .rank = PairRank()};
  block.queue.next = p.next;
  block.queue.given = s.given;
  block.queue.ready = s.ready;
  block.queue.taken = s.taken;
  block.groups = {p.offsets, s.begins, p.num_experts, kPairRows};
  block.staging = s.staging[0];
  if (threadIdx.x == 0) {
    block.stages.Init();
    block.queue.Init(kConsumerWarps);
    FenceBarrierInit();
  }
  block.groups.Count<kThreads>();
  block.queue.limit = block.groups.count() * p.parts * p.column_tiles;
  SyncPair();
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == kGroups) {
    LowerRegisters<kProducerRegisters>();
    if (threadIdx.x % kWarpgroupThreads == 0) Produce<kInputGrad>(maps, p, block);
  } else {
    RaiseRegisters<kConsumerRegisters>();
    Consume<kInputGrad>(p, block, group);
  }
  SyncPair();
}

template <bool kInputGrad>
void Launch(const GroupedMatmulShape& s, const Bf16* rows, const Bf16* weight, Params p,
            int num_sms, StreamHandle stream) {
  if (s.num_rows == 0) return;
  const int64_t N = s.dim_out, K = s.dim_in, P = s.num_matrices;
  p.num_experts = static_cast<int>(s.num_experts);
  p.matrix_rows = static_cast<int>(N);
  p.parts = kInputGrad ? 1 : static_cast<int>(P);
  p.columns = static_cast<int>(kInputGrad ? K : N);
  p.column_tiles = CeilDiv(p.columns, kPairRows);
  p.inner_parts = kInputGrad ? static_cast<int>(P) : 1;
  p.inner_steps = static_cast<int>((kInputGrad ? N : K) / kTile);
  const Buffer next(Device::kCuda, sizeof(int));
  CUDA_CHECK(cudaMemsetAsync(next.data(), 0, next.num_bytes(), ToStream(stream)));
  p.next = next.as<int>();
  const Maps maps = {MakeMatrixMap(rows, s.num_rows, kInputGrad ? P * N : K),
                     MakeMatrixMap(weight, P * s.num_experts * N, K)};
  const int64_t tiles =
      MaxGroupTiles(s.num_rows, s.num_experts, kPairRows) * p.parts * p.column_tiles;
  LaunchPairs(ProductKernel<kInputGrad>, std::min<int64_t>(num_sms / kPair, tiles), kThreads,
              static_cast<int>(sizeof(Shared)), ToStream(stream), maps, p);
}

}  // namespace

void GroupedForward(const GroupedMatmulFwdParams<Bf16>& p, const GpuInfo& gpu) {
  Launch<false>(p.shape, p.x, p.weight, {.offsets = p.offsets, .to = p.y}, gpu.num_sms, p.stream);
}

void GroupedInputGrad(const GroupedMatmulInputGradParams<Bf16>& p, const GpuInfo& gpu) {
  Launch<true>(p.shape, p.d_y, p.weight, {.offsets = p.offsets, .to = p.d_x}, gpu.num_sms,
               p.stream);
}

}  // namespace wyvern::sm90
