// Warpgroup GEMMs with 32 columns: four warpgroups then share a chunk, each with accumulators
// half as large as those of wgmma.cuh, whose tiles and layouts they keep.
#pragma once

#include "kernels/common/sm90/wgmma.cuh"

namespace wyvern::sm90 {

// 64 x 32 results, parts of 16 x 8 as in Accumulator.
struct NarrowAccumulator {
  float c[4][4];
};

__device__ __forceinline__ void Clear(NarrowAccumulator& x) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x.c[n][e] = 0.f;
  }
}

// d += A B over one inner step of 16.
template <Major kA, Major kB>
__device__ __forceinline__ void NarrowProductStep(NarrowAccumulator& d, uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
      "%16, %17, 1, 1, 1, %18, %19;\n"
      : "+f"(d.c[0][0]), "+f"(d.c[0][1]), "+f"(d.c[0][2]), "+f"(d.c[0][3]), "+f"(d.c[1][0]),
        "+f"(d.c[1][1]), "+f"(d.c[1][2]), "+f"(d.c[1][3]), "+f"(d.c[2][0]), "+f"(d.c[2][1]),
        "+f"(d.c[2][2]), "+f"(d.c[2][3]), "+f"(d.c[3][0]), "+f"(d.c[3][1]), "+f"(d.c[3][2]),
        "+f"(d.c[3][3])
      : "l"(a), "l"(b), "n"(kA == Major::kOuter ? 1 : 0), "n"(kB == Major::kOuter ? 1 : 0));
}

// d += A B over 64 inner positions, of B the columns 32 half .. 32 half + 31 of a tile.
template <Major kA, Major kB>
__device__ __forceinline__ void AddNarrowProduct(NarrowAccumulator& d, const Bf16* a, const Bf16* b,
                                                 int half) {
  // Swizzles are functions of the address, so columns may start within a row of the tile.
  const Bf16* const columns = b + half * (kB == Major::kOuter ? 32 : 32 * kTile);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    NarrowProductStep<kA, kB>(d, Descriptor<kA>(a, step), Descriptor<kB>(columns, step));
  }
}

// Keeps the compiler from moving uses of x across this place.
__device__ __forceinline__ void Pin(NarrowAccumulator& x) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(x.c[n][e])::"memory");
  }
}

}  // namespace wyvern::sm90
