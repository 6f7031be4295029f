// Warpgroup products with 256 columns, for which a stage of 48 KB feeds two warpgroups: what a
// dense product needs to keep the tensor cores busy. Tiles are those of wgmma.cuh; four of them,
// one after the other in memory, are the right operand.
#pragma once

#include "kernels/cuda/sm90/wgmma.cuh"

namespace wyvern::sm90 {

constexpr int kWideTiles = 4;
constexpr int kWideColumns = kWideTiles * kTile;

// 64 x 256 results, parts of 16 x 8 as in Accumulator.
struct WideAccumulator {
  float c[32][4];
};

__device__ __forceinline__ void Clear(WideAccumulator& x) {
#pragma unroll
  for (int n = 0; n < 32; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x.c[n][e] = 0.f;
  }
}

// Keeps the compiler from moving uses of x across this place.
__device__ __forceinline__ void Pin(WideAccumulator& x) {
#pragma unroll
  for (int n = 0; n < 32; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(x.c[n][e])::"memory");
  }
}

// Columns 64 j .. 64 j + 63, rounded.
__device__ __forceinline__ Fragment ToFragment(const WideAccumulator& x, int j) {
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

// d += A B over one inner step of 16.
template <Major kA, Major kB>
__device__ __forceinline__ void WideProductStep(WideAccumulator& d, uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
      "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
      "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
      "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, "
      "%128, %129, 1, 1, 1, %130, %131;\n"
      : WYVERN_PART(d, 0), WYVERN_PART(d, 1), WYVERN_PART(d, 2), WYVERN_PART(d, 3),
        WYVERN_PART(d, 4), WYVERN_PART(d, 5), WYVERN_PART(d, 6), WYVERN_PART(d, 7),
        WYVERN_PART(d, 8), WYVERN_PART(d, 9), WYVERN_PART(d, 10), WYVERN_PART(d, 11),
        WYVERN_PART(d, 12), WYVERN_PART(d, 13), WYVERN_PART(d, 14), WYVERN_PART(d, 15),
        WYVERN_PART(d, 16), WYVERN_PART(d, 17), WYVERN_PART(d, 18), WYVERN_PART(d, 19),
        WYVERN_PART(d, 20), WYVERN_PART(d, 21), WYVERN_PART(d, 22), WYVERN_PART(d, 23),
        WYVERN_PART(d, 24), WYVERN_PART(d, 25), WYVERN_PART(d, 26), WYVERN_PART(d, 27),
        WYVERN_PART(d, 28), WYVERN_PART(d, 29), WYVERN_PART(d, 30), WYVERN_PART(d, 31)
      : "l"(a), "l"(b), "n"(kA == Major::kOuter ? 1 : 0), "n"(kB == Major::kOuter ? 1 : 0));
}
#undef WYVERN_PART

}  // namespace wyvern::sm90
