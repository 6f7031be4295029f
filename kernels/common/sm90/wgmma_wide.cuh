// Warpgroup GEMMs with up to 256 columns, for which a stage of 48 KB feeds two warpgroups: what
// a dense GEMM needs to keep the tensor cores busy. Tiles are those of wgmma.cuh; up to four of
// them, one after the other in memory, are the right operand.
#pragma once

#include "kernels/common/sm90/wgmma.cuh"

namespace wyvern::sm90 {

constexpr int kWideTiles = 4;
constexpr int kWideColumns = kWideTiles * kTile;

// 64 x 64 kTiles results, parts of 16 x 8 as in Accumulator.
template <int kTiles>
struct WideAccumulator {
  float c[8 * kTiles][4];
};

template <int kTiles>
__device__ __forceinline__ void Clear(WideAccumulator<kTiles>& x) {
#pragma unroll
  for (int n = 0; n < 8 * kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x.c[n][e] = 0.f;
  }
}

// Keeps the compiler from moving uses of x across this place.
template <int kTiles>
__device__ __forceinline__ void Pin(WideAccumulator<kTiles>& x) {
#pragma unroll
  for (int n = 0; n < 8 * kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(x.c[n][e])::"memory");
  }
}

// Columns 64 j .. 64 j + 63, rounded.
template <int kTiles>
__device__ __forceinline__ Fragment ToFragment(const WideAccumulator<kTiles>& x, int j) {
  Fragment f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float* const c = x.c[8 * j + 2 * i + e / 2];
      f.r[i][e] = Pack(c[2 * (e % 2)], c[2 * (e % 2) + 1]);
    }
  }
  return f;
}

#define WYVERN_PART(d, n) "+f"(d.c[n][0]), "+f"(d.c[n][1]), "+f"(d.c[n][2]), "+f"(d.c[n][3])
#define WYVERN_TILE(d, j)                                                              \
  WYVERN_PART(d, 8 * j), WYVERN_PART(d, 8 * j + 1), WYVERN_PART(d, 8 * j + 2),         \
      WYVERN_PART(d, 8 * j + 3), WYVERN_PART(d, 8 * j + 4), WYVERN_PART(d, 8 * j + 5), \
      WYVERN_PART(d, 8 * j + 6), WYVERN_PART(d, 8 * j + 7)
#define WYVERN_OPERANDS \
  "l"(a), "l"(b), "n"(kA == Major::kOuter ? 1 : 0), "n"(kB == Major::kOuter ? 1 : 0)
#define WYVERN_REGISTERS_0                                 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WYVERN_REGISTERS_1                                           \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WYVERN_REGISTERS_2                                           \
  "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
  "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define WYVERN_REGISTERS_3                                                       \
  "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111," \
  "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// d += A B over one inner step of 16.
template <Major kA, Major kB, int kTiles>
__device__ __forceinline__ void WideProductStep(WideAccumulator<kTiles>& d, uint64_t a,
                                                uint64_t b) {
  static_assert(kTiles >= 1 && kTiles <= kWideTiles);
  if constexpr (kTiles == 1) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" WYVERN_REGISTERS_0
                 "}, %32, %33, 1, 1, 1, %34, %35;\n"
                 : WYVERN_TILE(d, 0)
                 : WYVERN_OPERANDS);
  } else if constexpr (kTiles == 2) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" WYVERN_REGISTERS_0
                 "," WYVERN_REGISTERS_1 "}, %64, %65, 1, 1, 1, %66, %67;\n"
                 : WYVERN_TILE(d, 0), WYVERN_TILE(d, 1)
                 : WYVERN_OPERANDS);
  } else if constexpr (kTiles == 3) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" WYVERN_REGISTERS_0
                 "," WYVERN_REGISTERS_1 "," WYVERN_REGISTERS_2 "}, %96, %97, 1, 1, 1, %98, %99;\n"
                 : WYVERN_TILE(d, 0), WYVERN_TILE(d, 1), WYVERN_TILE(d, 2)
                 : WYVERN_OPERANDS);
  } else {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" WYVERN_REGISTERS_0
                 "," WYVERN_REGISTERS_1 "," WYVERN_REGISTERS_2 "," WYVERN_REGISTERS_3
                 "}, %128, %129, 1, 1, 1, %130, %131;\n"
                 : WYVERN_TILE(d, 0), WYVERN_TILE(d, 1), WYVERN_TILE(d, 2), WYVERN_TILE(d, 3)
                 : WYVERN_OPERANDS);
  }
}
#undef WYVERN_PART
#undef WYVERN_TILE
#undef WYVERN_OPERANDS
#undef WYVERN_REGISTERS_0
#undef WYVERN_REGISTERS_1
#undef WYVERN_REGISTERS_2
#undef WYVERN_REGISTERS_3

}  // namespace wyvern::sm90
