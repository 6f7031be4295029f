// Pairs of blocks on neighbouring SMs (clusters of 2), for sm_90a: copies that arrive
// in both, barriers across them, and a queue that hands them work.
#pragma once

#include "kernels/common/sm90/async.cuh"

namespace wyvern::sm90 {

constexpr int kPair = 2;

// The rank of the calling block within its pair, 0 or 1.
__device__ __forceinline__ int PairRank() {
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
  return rank;
}

// All threads of both blocks: before either uses the other's shared memory, and before one ends
// whose memory the other may still use.
__device__ __forceinline__ void SyncPair() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;\n" ::: "memory");
}

// Arrives at this barrier of block `rank`. Orders what GEMMs and copies have read before, but no
// ordinary writes.
__device__ __forceinline__ void ArriveAt(Barrier& barrier, int rank) {
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(SharedAddress(&barrier)),
      "r"(rank)
      : "memory");
}
// The word at `word` of block `rank` = value, which completes 4 bytes on this barrier there.
__device__ __forceinline__ void SendWord(int* word, int rank, int value, Barrier& barrier) {
  asm volatile(
      "{\n.reg .b32 there, barrier;\nmapa.shared::cluster.u32 there, %0, %2;\n"
      "mapa.shared::cluster.u32 barrier, %1, %2;\n"
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [there], %3, [barrier];\n"
      "}\n" ::"r"(SharedAddress(word)),
      "r"(SharedAddress(&barrier)), "r"(rank), "r"(value)
      : "memory");
}

// CopyMatrix to the same place of both blocks, each of whose `barrier` counts all its bytes.
__device__ __forceinline__ void CopyMatrixToPair(Bf16* tile, const TensorMap& map, int column,
                                                 int row, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;\n" ::"r"(SharedAddress(tile)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(SharedAddress(&barrier)), "r"(column), "r"(row),
      "h"(static_cast<uint16_t>((1 << kPair) - 1))
      : "memory");
}

// Until all of this thread's stores have arrived in memory, so that one to the same place comes
// after them.
__device__ __forceinline__ void FinishStores() {
  asm volatile("cp.async.bulk.wait_group 0;\n" ::: "memory");
}

// Hands numbers 0, 1, .. to the pairs of a grid, in order, to whichever asks: those that run at the
// same time are neighbours, however unlike their work is. The first block's producer thread asks
// and gives; the second one's, and the consumer warps of both, take.
struct Queue {
  static constexpr int kPlaces = 2, kEnd = -1;

  int* next;   // device memory, 0 before the launch
  int* given;  // [kPlaces] shared memory, as the barriers
  Barrier *ready, *taken;
  int limit;
  Ring ring{kPlaces};

  // By one thread of each block, whose `warps` take; SyncPair follows.
  __device__ __forceinline__ void Init(int warps) const {
    for (int i = 0; i < kPlaces; ++i) {
      sm90::Init(ready[i], 1);
      sm90::Init(taken[i], kPair * warps + 1);
    }
  }
  __device__ __forceinline__ int Ask() const { return atomicAdd(next, 1); }
  // Returns `number`, or kEnd.
  __device__ __forceinline__ int Give(int number) {
    if (number >= limit) number = kEnd;
    Wait(taken[ring.place], ring.empty_parity());
    Expect();
    for (int i = 0; i < kPair; ++i) SendWord(&given[ring.place], i, number, ready[ring.place]);
    ring.Advance();
    return number;
  }
  // By the second block's producer.
  __device__ __forceinline__ int Receive() {
    Expect();
    const int number = Read();
    Free();
    return number;
  }
  // By a warp.
  __device__ __forceinline__ int Take() {
    const int number = Read();
    __syncwarp();
    Free(LaneId() == 0);
    return number;
  }

 private:
  __device__ __forceinline__ void Expect() const {
    ArriveExpecting(ready[ring.place], static_cast<int>(sizeof(int)));
  }
  __device__ __forceinline__ int Read() const {
    Wait(ready[ring.place], ring.full_parity());
    return *const_cast<volatile int*>(&given[ring.place]);
  }
  __device__ __forceinline__ void Free(bool arrive = true) {
    if (arrive) ArriveAt(taken[ring.place], 0);
    ring.Advance();
  }
};

// kernel<<<2 pairs, threads, bytes>>>(arguments ..)
template <class... Parameters, class... Arguments>
void LaunchPairs(void (*kernel)(Parameters...), int64_t pairs, int threads, int bytes,
                 cudaStream_t stream, const Arguments&... arguments) {
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kPair, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(kPair * pairs));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(bytes);
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
}

}  // namespace wyvern::sm90
