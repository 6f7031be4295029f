// Warpgroup GEMMs (wgmma) of 64 x 64 bf16 tiles with fp32 accumulation, for sm_90a.
//
// A tile lies in shared memory as 64 rows of 64 elements (128 bytes), 1024-byte aligned, with the
// 128-byte swizzle of the tensor memory accelerator: 16-byte piece c of row r stands at piece
// c ^ (r % 8). A warpgroup is 4 consecutive warps, the first at a multiple of 4; warp w of it holds
// rows 16 w .. 16 w + 15 of accumulators and of A operands in registers.
#pragma once

#include <cstdint>

#include "kernels/common/common.cuh"

namespace wyvern::sm90 {

constexpr int kTile = 64;
constexpr int kTileElements = kTile * kTile;
constexpr int kTileBytes = kTileElements * 2;
constexpr int kWarpgroupThreads = 128;

__device__ __forceinline__ int LaneId() { return static_cast<int>(threadIdx.x) % kWarpSize; }
// Warp within its warpgroup, 0 .. 3.
__device__ __forceinline__ int WarpOfGroup() {
  return static_cast<int>(threadIdx.x) / kWarpSize % 4;
}

// Address of element (row, 8 * piece) of a tile.
__device__ __forceinline__ Bf16* TileRow(Bf16* tile, int row, int piece) {
  return tile + row * kTile + ((piece ^ (row & 7)) << 3);
}

// 64 x 64 results. c[n] is a 16 x 8 part (columns 8 n ..) of the warp's 16 rows: elements 0 and 1
// are row LaneId() / 4, columns 2 (LaneId() % 4) and the next, elements 2 and 3 the row 8 below.
struct Accumulator {
  float c[8][4];
};

// A 64 x 64 left operand in registers; r[j] covers inner positions 16 j .. 16 j + 15.
struct Fragment {
  uint32_t r[4][4];
};

__device__ __forceinline__ uint32_t Pack(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ __forceinline__ float UnpackLow(uint32_t x) { return __uint_as_float(x << 16); }
__device__ __forceinline__ float UnpackHigh(uint32_t x) { return __uint_as_float(x & 0xffff0000u); }

// The accumulator, rounded, as a left operand of the same rows.
__device__ __forceinline__ Fragment ToFragment(const Accumulator& x) {
  Fragment f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      f.r[j][i] = Pack(x.c[2 * j + i / 2][2 * (i % 2)], x.c[2 * j + i / 2][2 * (i % 2) + 1]);
    }
  }
  return f;
}

__device__ __forceinline__ void Clear(Accumulator& x) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x.c[n][e] = 0.f;
  }
}

// fn(n, half, row, column, x0, x1): pairs of adjacent columns; n and half are compile-time
// constants after unrolling.
template <class F>
__device__ __forceinline__ void ForEachPair(Accumulator& x, F&& fn) {
  const int row = 16 * WarpOfGroup() + LaneId() / 4, column = 2 * (LaneId() % 4);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    fn(n, 0, row, column + 8 * n, x.c[n][0], x.c[n][1]);
    fn(n, 1, row + 8, column + 8 * n, x.c[n][2], x.c[n][3]);
  }
}

// ---- Between registers and tiles ----

__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

template <bool kTranspose>
__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], const Bf16* row) {
  const uint32_t address = SharedAddress(row);
  if constexpr (kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
}

template <bool kTranspose>
__device__ __forceinline__ void StoreMatrices(Bf16* row, const uint32_t (&r)[4]) {
  const uint32_t address = SharedAddress(row);
  if constexpr (kTranspose) {
    asm volatile(
        "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};\n" ::"r"(address),
        "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
        : "memory");
  } else {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};\n" ::"r"(address),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
  }
}

// The row whose address this lane gives for 16 x 16 block j (of columns 16 j ..) of the warp's 16
// rows; the four matrices are then those of Fragment::r[j]. Transposed: the tile holds the operand
// as [column][row].
template <bool kTransposed>
__device__ __forceinline__ Bf16* BlockRow(Bf16* tile, int j) {
  const int lane = LaneId(), i = lane % 8, matrix = lane / 8;
  if constexpr (kTransposed) {
    return TileRow(tile, 16 * j + 8 * (matrix / 2) + i, 2 * WarpOfGroup() + matrix % 2);
  } else {
    return TileRow(tile, 16 * WarpOfGroup() + 8 * (matrix % 2) + i, 2 * j + matrix / 2);
  }
}

// fragment = tile, or its transpose.
template <bool kTransposed>
__device__ __forceinline__ Fragment LoadFragment(const Bf16* tile) {
  Fragment f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    LoadMatrices<kTransposed>(f.r[j], BlockRow<kTransposed>(const_cast<Bf16*>(tile), j));
  }
  return f;
}

// tile = fragment, or its transpose. Each warp writes what it holds.
template <bool kTransposed>
__device__ __forceinline__ void StoreFragment(Bf16* tile, const Fragment& f) {
#pragma unroll
  for (int j = 0; j < 4; ++j) StoreMatrices<kTransposed>(BlockRow<kTransposed>(tile, j), f.r[j]);
}

// fn(n, half, row, column, x0, x1) over a fragment's elements, placed as ForEachPair's.
template <class F>
__device__ __forceinline__ void ForEachPair(const Fragment& f, F&& fn) {
  const int row = 16 * WarpOfGroup() + LaneId() / 4, column = 2 * (LaneId() % 4);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t x = f.r[n / 2][2 * (n % 2) + half];
      fn(n, half, row + 8 * half, column + 8 * n, UnpackLow(x), UnpackHigh(x));
    }
  }
}

// ---- Products ----

// How an operand lies in its tile: kInner when the inner (summed) dimension is contiguous, that is
// A as [row][inner], B as [column][inner]; kOuter when the tile is [inner][row] or [inner][column].
enum class Major { kInner, kOuter };

// Matrix descriptor of a tile's 16 inner positions 16 step .. 16 step + 15 (PTX ISA, "Matrix
// Descriptor Format"): start address, leading and stride byte offset in units of 16 bytes, and the
// 128-byte swizzle. Groups of 8 rows are 1024 bytes apart.
template <Major kMajor>
__device__ __forceinline__ uint64_t Descriptor(const Bf16* tile, int step) {
  constexpr uint32_t kStep = kMajor == Major::kInner ? 32 : 16 * kTile * 2;
  // In halves, so that a step is an addition to the lower one.
  constexpr uint32_t kHigh = (1024 >> 4) | (1u << 30);
  const uint32_t low = ((SharedAddress(tile) & 0x3ffffu) >> 4) + ((kTileBytes >> 4) << 16) +
                       static_cast<uint32_t>(step) * (kStep >> 4);
  return (uint64_t{kHigh} << 32) | low;
}

// Registers written before the next GEMM are seen by it; call before the first product and
// after touching an accumulator or a fragment.
__device__ __forceinline__ void ProductFence() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
// Keeps the compiler from moving uses of x across this place.
__device__ __forceinline__ void Pin(Accumulator& x) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(x.c[n][e])::"memory");
  }
}
// Waits until at most kPending committed groups are under way; names the accumulators that are
// ready then.
template <int kPending, class... Accumulators>
__device__ __forceinline__ void WaitProducts(Accumulators&... ready) {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
  (Pin(ready), ...);
}

#define WYVERN_WGMMA_OUTPUTS(d)                                                            \
  "+f"(d.c[0][0]), "+f"(d.c[0][1]), "+f"(d.c[0][2]), "+f"(d.c[0][3]), "+f"(d.c[1][0]),     \
      "+f"(d.c[1][1]), "+f"(d.c[1][2]), "+f"(d.c[1][3]), "+f"(d.c[2][0]), "+f"(d.c[2][1]), \
      "+f"(d.c[2][2]), "+f"(d.c[2][3]), "+f"(d.c[3][0]), "+f"(d.c[3][1]), "+f"(d.c[3][2]), \
      "+f"(d.c[3][3]), "+f"(d.c[4][0]), "+f"(d.c[4][1]), "+f"(d.c[4][2]), "+f"(d.c[4][3]), \
      "+f"(d.c[5][0]), "+f"(d.c[5][1]), "+f"(d.c[5][2]), "+f"(d.c[5][3]), "+f"(d.c[6][0]), \
      "+f"(d.c[6][1]), "+f"(d.c[6][2]), "+f"(d.c[6][3]), "+f"(d.c[7][0]), "+f"(d.c[7][1]), \
      "+f"(d.c[7][2]), "+f"(d.c[7][3])
#define WYVERN_WGMMA_OPCODE                                 \
  "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "   \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "

// d (+)= A B over one inner step of 16; `accumulate` 0 overwrites d.
template <Major kB>
__device__ __forceinline__ void ProductStep(Accumulator& d, const uint32_t (&a)[4], uint64_t b,
                                            int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n" WYVERN_WGMMA_OPCODE
               "{%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}\n"
               : WYVERN_WGMMA_OUTPUTS(d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate),
                 "n"(kB == Major::kOuter ? 1 : 0));
}
template <Major kA, Major kB>
__device__ __forceinline__ void ProductStep(Accumulator& d, uint64_t a, uint64_t b,
                                            int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n" WYVERN_WGMMA_OPCODE
               "%32, %33, p, 1, 1, %35, %36;\n}\n"
               : WYVERN_WGMMA_OUTPUTS(d)
               : "l"(a), "l"(b), "r"(accumulate), "n"(kA == Major::kOuter ? 1 : 0),
                 "n"(kB == Major::kOuter ? 1 : 0));
}
#undef WYVERN_WGMMA_OUTPUTS
#undef WYVERN_WGMMA_OPCODE

// d = A B, or d += A B, over 64 inner positions. Asynchronous: fence before, commit and wait after.
enum class Sum { kOverwrite, kAdd };
template <Major kB, Sum kSum>
__device__ __forceinline__ void Product(Accumulator& d, const Fragment& a, const Bf16* b) {
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    ProductStep<kB>(d, a.r[step], Descriptor<kB>(b, step), kSum == Sum::kAdd || step > 0);
  }
}
template <Major kA, Major kB, Sum kSum>
__device__ __forceinline__ void Product(Accumulator& d, const Bf16* a, const Bf16* b) {
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    ProductStep<kA, kB>(d, Descriptor<kA>(a, step), Descriptor<kB>(b, step),
                        kSum == Sum::kAdd || step > 0);
  }
}

}  // namespace wyvern::sm90
