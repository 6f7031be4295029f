// Asynchronous copies (tensor memory accelerator) and the barriers that order them, for sm_90a.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/common/sm90/wgmma.cuh"

namespace wyvern::sm90 {

// A tensor as the copy engine sees it; made on the host, given to kernels as
// `const __grid_constant__ TensorMap`. All cut out tiles with the 128-byte swizzle,
// of 64 x 64 where nothing else is said.
using TensorMap = CUtensorMap;

// A map of x [tokens, heads, dim] bf16: tiles of 64 tokens and 64 elements of one head. Rows of one
// token are `token_stride` elements apart (a multiple of 8; `x` is 16-byte aligned, dim a multiple
// of 64).
TensorMap MakeTokenMap(const Bf16* x, int64_t tokens, int64_t heads, int64_t dim,
                       int64_t token_stride);
// A map of x [rows, columns] bf16, contiguous, columns a multiple of 64: tiles of 64 rows and 64
// columns.
TensorMap MakeMatrixMap(const Bf16* x, int64_t rows, int64_t columns);
// A map of x [rows, columns] fp32, contiguous, columns a multiple of 32: tiles of 16 rows and 32
// columns, which is 128 bytes too.
TensorMap MakeSumMap(const float* x, int64_t rows, int64_t columns);

// ---- Barriers in shared memory ----

struct alignas(8) Barrier {
  uint64_t state;
};

// By one thread; FenceBarrierInit and a block barrier follow.
__device__ __forceinline__ void Init(Barrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(SharedAddress(&barrier)),
               "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
__device__ __forceinline__ void Arrive(Barrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(SharedAddress(&barrier))
               : "memory");
}
// Arrives and announces `bytes` that copies will bring.
__device__ __forceinline__ void ArriveExpecting(Barrier& barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(SharedAddress(&barrier)),
      "r"(bytes)
      : "memory");
}
// Waits for the end of the barrier's phase of this parity (the first phase has parity 0).
__device__ __forceinline__ void Wait(Barrier& barrier, int parity) {
  asm volatile(
      "{\n.reg .pred p;\nAGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@p bra DONE;\nbra AGAIN;\nDONE:\n}\n" ::"r"(SharedAddress(&barrier)),
      "r"(parity)
      : "memory");
}

// A ring of `stages` places, filled by one thread and emptied by consumer warps: position i is
// place i % stages, in its (i / stages)-th round.
struct Ring {
  int stages;
  int place = 0, round = 0;
  __device__ __forceinline__ void Advance() {
    if (++place == stages) {
      place = 0;
      ++round;
    }
  }
  // Parity of the wait for "full" in this round; for "empty" before the round's fill it is the
  // opposite, which the first round passes at once.
  __device__ __forceinline__ int full_parity() const { return round & 1; }
  __device__ __forceinline__ int empty_parity() const { return (round & 1) ^ 1; }
};

// ---- Copies ----

// tile = rows token .. token + 63, elements element .. element + 63 of a head; rows beyond the
// tensor are zeros. Completes kTileBytes on `barrier`.
__device__ __forceinline__ void CopyTokens(Bf16* tile, const TensorMap& map, int element, int head,
                                           int token, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];\n" ::"r"(SharedAddress(tile)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(SharedAddress(&barrier)), "r"(element), "r"(head),
      "r"(token)
      : "memory");
}
__device__ __forceinline__ void CopyMatrix(Bf16* tile, const TensorMap& map, int column, int row,
                                           Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];\n" ::"r"(SharedAddress(tile)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(SharedAddress(&barrier)), "r"(column), "r"(row)
      : "memory");
}
// `bytes` (a multiple of 16) from global to shared memory, both 16-byte aligned.
__device__ __forceinline__ void CopyBytes(void* to, const void* from, int bytes, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::
          "r"(SharedAddress(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(SharedAddress(&barrier))
      : "memory");
}
// The matrix's tile at (row, column) = tile. FenceSharedWrites and a barrier come before; commit
// and wait before the tile is overwritten.
__device__ __forceinline__ void StoreMatrix(const TensorMap& map, int column, int row,
                                            const void* tile) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];\n" ::"l"(
          reinterpret_cast<uint64_t>(&map)),
      "r"(SharedAddress(tile)), "r"(column), "r"(row)
      : "memory");
}
// The same, added to what is there.
__device__ __forceinline__ void AddMatrix(const TensorMap& map, int column, int row,
                                          const void* tile) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3}], "
      "[%1];\n" ::"l"(reinterpret_cast<uint64_t>(&map)),
      "r"(SharedAddress(tile)), "r"(column), "r"(row)
      : "memory");
}
__device__ __forceinline__ void CommitStores() {
  asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
}
// Until at most kPending groups of this thread's stores still read shared memory.
template <int kPending>
__device__ __forceinline__ void WaitStores() {
  asm volatile("cp.async.bulk.wait_group.read %0;\n" ::"n"(kPending) : "memory");
}

// Ordinary writes to shared memory become visible to GEMMs and copies; by every writing thread,
// before the barrier that precedes them.
__device__ __forceinline__ void FenceSharedWrites() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// A barrier of `threads` threads (whole warps); id 1 .. 15.
__device__ __forceinline__ void Sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

// Registers per thread of the calling warpgroup from here on, a multiple of 8.
template <int kCount>
__device__ __forceinline__ void RaiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void LowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCount));
}

}  // namespace wyvern::sm90
