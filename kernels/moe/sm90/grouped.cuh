// Grouped GEMMs on Hopper: what the two kernels share. Blocks of 128 x 256 results, one to a
// SM at a time, walk the tiles of all experts. A producer thread of each block fills a
// ring of stages, two consumer warpgroups multiply 64 rows each.
//
// A stage holds two tiles of the block's left operand, one for each warpgroup, then four of the
// right one, which a pair of blocks may share: each then loads half of it into both.
#pragma once

#include "kernels/common/sm90/cluster.cuh"
#include "kernels/common/sm90/wgmma_wide.cuh"

namespace wyvern::sm90 {

namespace grouped {

constexpr int kGroups = 2;  // consumer warpgroups
constexpr int kConsumers = kGroups * kWarpgroupThreads;
constexpr int kConsumerWarps = kConsumers / kWarpSize;
constexpr int kThreads = kConsumers + kWarpgroupThreads;
constexpr int kBlockRows = kGroups * kTile;
constexpr int kStages = 4;
constexpr int kStageTiles = kGroups + kWideTiles;
constexpr int kConsumerRegisters = 232, kProducerRegisters = 40;

// The ring, of stages of 64 inner positions, whose right operand kBlocks = 1 or kPair blocks share.
template <int kBlocks>
struct Stages {
  Bf16* tiles;  // [kStages][kStageTiles][kTileElements], 1024-byte aligned
  Barrier *full, *empty;
  int rank;  // of the block among them
  Ring ring{kStages};

  // By one thread of each block; FenceBarrierInit and a barrier of all threads follow.
  __device__ __forceinline__ void Init() const {
    for (int i = 0; i < kStages; ++i) {
      sm90::Init(full[i], 1);
      sm90::Init(empty[i], kBlocks * kConsumerWarps);
    }
  }
  __device__ __forceinline__ Bf16* Left(int i) const {
    return tiles + (ring.place * kStageTiles + i) * kTileElements;
  }
  __device__ __forceinline__ Bf16* Right(int i) const { return Left(kGroups + i); }

  // The producer's next stage: `left` tiles of the block by copy_left(tile, i, barrier), and of the
  // `right` tiles its share by copy_right. A place is free once the consumers of all blocks are
  // done with it.
  template <class L, class R>
  __device__ __forceinline__ void Fill(int left, int right, L&& copy_left, R&& copy_right) {
    Barrier& barrier = full[ring.place];
    Wait(empty[ring.place], ring.empty_parity());
    ArriveExpecting(barrier, (left + right) * kTileBytes);
    for (int i = rank; i < right; i += kBlocks) copy_right(Right(i), i, barrier);
    for (int i = 0; i < left; ++i) copy_left(Left(i), i, barrier);
    ring.Advance();
  }

  __device__ __forceinline__ void WaitFull() const { Wait(full[ring.place], ring.full_parity()); }
  // A consumer warp is done with a place.
  __device__ __forceinline__ void Release(int place) const {
    if constexpr (kBlocks == 1) {
      if (LaneId() == 0) Arrive(empty[place]);
    } else {
      if (LaneId() < kBlocks) ArriveAt(empty[place], LaneId());
    }
  }
  // acc += the GEMM of the stage's tiles. Asynchronous.
  template <Major kA, Major kB, int kTiles>
  __device__ __forceinline__ void MultiplyStage(WideAccumulator<kTiles>& acc, int group) const {
    const Bf16 *const a = Left(group), *const b = Right(0);
    ProductFence();
#pragma unroll
    for (int i = 0; i < kTile / 16; ++i) {
      WideProductStep<kA, kB>(acc, Descriptor<kA>(a, i), Descriptor<kB>(b, i));
    }
    CommitProducts();
  }
  // acc += the GEMMs of `steps` stages; prepare(step) is called when a stage has come.
  // Instructions of GEMMs stand in no branch, without which the compiler would put them one
  // after the other.
  template <Major kA, Major kB, int kTiles, class F>
  __device__ __forceinline__ void Multiply(WideAccumulator<kTiles>& acc, int steps, int group,
                                           F&& prepare) {
    int previous = 0;
    for (int step = 0; step < steps; ++step, ring.Advance()) {
      WaitFull();
      prepare(step);
      MultiplyStage<kA, kB>(acc, group);
      WaitProducts<1>();
      if (step > 0) Release(previous);
      previous = ring.place;
    }
    WaitProducts<0>(acc);
    Release(previous);
  }
  // For a warpgroup that has no results in this tile.
  template <class F>
  __device__ __forceinline__ void LetPass(int steps, F&& prepare) {
    for (int step = 0; step < steps; ++step, ring.Advance()) {
      WaitFull();
      prepare(step);
      Release(ring.place);
    }
  }
};

}  // namespace grouped
}  // namespace wyvern::sm90
