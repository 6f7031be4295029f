// Grouped products on Hopper: what the two kernels share. Blocks of 128 x 256 results, one to a
// multiprocessor at a time, walk the tiles of all experts; a producer thread fills a ring of stages
// of 64 inner positions, two consumer warpgroups multiply 64 rows each.
//
// A stage holds two tiles of the left operand, one for each warpgroup, then four of the right one.
#pragma once

#include "kernels/cuda/grouped_tiles.cuh"
#include "kernels/cuda/sm90/async.cuh"
#include "kernels/cuda/sm90/wgmma_wide.cuh"

namespace wyvern::sm90 {

namespace grouped {

constexpr int kGroups = 2;  // consumer warpgroups
constexpr int kConsumers = kGroups * kWarpgroupThreads;
constexpr int kThreads = kConsumers + kWarpgroupThreads;
constexpr int kBlockRows = kGroups * kTile;
constexpr int kStages = 4;
constexpr int kStageTiles = kGroups + kWideTiles;
constexpr int kStageBytes = kStageTiles * kTileBytes;
constexpr int kConsumerRegisters = 240, kProducerRegisters = 24;

// Shared memory: stages, then `staging_bytes` of results on their way out, then barriers, then
// kMaxGroups + 1 integers where they are asked for.
constexpr int SharedBytes(int staging_bytes, bool counts_tiles) {
  return kStages * kStageBytes + staging_bytes + 2 * kStages * static_cast<int>(sizeof(Barrier)) +
         (counts_tiles ? (kMaxGroups + 1) * static_cast<int>(sizeof(int)) : 0);
}

struct Block {
  Bf16* stages;
  unsigned char* staging;
  Barrier *full, *empty;
  int* begins;

  __device__ Bf16* Stage(const Ring& ring) const {
    return stages + ring.place * kStageTiles * kTileElements;
  }
};

// By all threads; a block barrier follows.
__device__ __forceinline__ Block Enter(unsigned char* shared, int staging_bytes) {
  Block block;
  block.stages = reinterpret_cast<Bf16*>(shared);
  block.staging = shared + kStages * kStageBytes;
  block.full = reinterpret_cast<Barrier*>(block.staging + staging_bytes);
  block.empty = block.full + kStages;
  block.begins = reinterpret_cast<int*>(block.empty + kStages);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      Init(block.full[i], 1);
      Init(block.empty[i], kConsumers / kWarpSize);
    }
    FenceBarrierInit();
  }
  return block;
}

// A consumer warp is done with a place of the ring.
__device__ __forceinline__ void Release(Block& block, int place) {
  if (LaneId() == 0) Arrive(block.empty[place]);
}

// acc += the product of a stage's tiles. Asynchronous.
template <Major kA, Major kB>
__device__ __forceinline__ void MultiplyStage(WideAccumulator& acc, const Bf16* stage, int group) {
  const Bf16* const a = stage + group * kTileElements;
  const Bf16* const b = stage + kGroups * kTileElements;
  ProductFence();
#pragma unroll
  for (int i = 0; i < kTile / 16; ++i) {
    WideProductStep<kA, kB>(acc, Descriptor<kA>(a, i), Descriptor<kB>(b, i));
  }
  CommitProducts();
}

// acc += the products of `steps` stages. Instructions of products stand in no branch, without which
// the compiler would put them one after the other.
template <Major kA, Major kB>
__device__ __forceinline__ void Multiply(WideAccumulator& acc, Block& block, Ring& ring, int steps,
                                         int group) {
  int previous = 0;
  for (int step = 0; step < steps; ++step, ring.Advance()) {
    Wait(block.full[ring.place], ring.full_parity());
    MultiplyStage<kA, kB>(acc, block.Stage(ring), group);
    WaitProducts<1>();
    if (step > 0) Release(block, previous);
    previous = ring.place;
  }
  WaitProducts<0>(acc);
  if (steps > 0) Release(block, previous);
}

// For a warpgroup that has no results in this tile.
__device__ __forceinline__ void LetPass(Block& block, Ring& ring, int steps) {
  for (int step = 0; step < steps; ++step, ring.Advance()) {
    Wait(block.full[ring.place], ring.full_parity());
    Release(block, ring.place);
  }
}

// Rows 0 .. rows - 1 of the warpgroup's 64 x `columns` results to `to`, rows `ld` elements apart;
// columns a multiple of 64. Each warp takes its 16 rows through its part of the warpgroup's `tile`.
__device__ __forceinline__ void StoreRows(const WideAccumulator& acc, Bf16* tile, Bf16* to,
                                          int64_t ld, int rows, int columns) {
#pragma unroll
  for (int j = 0; j < kWideTiles; ++j) {
    if (j * kTile >= columns) continue;
    StoreFragment<false>(tile, ToFragment(acc, j));
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 16 * WarpOfGroup() + 4 * i + LaneId() / 8, piece = LaneId() % 8;
      if (row < rows) {
        *reinterpret_cast<uint4*>(to + row * ld + j * kTile + piece * 8) =
            *reinterpret_cast<const uint4*>(TileRow(tile, row, piece));
      }
    }
    __syncwarp();
  }
}

}  // namespace grouped
}  // namespace wyvern::sm90
