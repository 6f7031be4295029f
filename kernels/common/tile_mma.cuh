// Products of 64 x 64 tiles in shared memory by a block of 256 threads, for T = bf16 (tensor cores,
// fp32 accumulation) and T = float (fp32 multiply-adds, never TF32), from one source.
//
// A tile has 64 rows of kTileLd<T> elements, of which 64 count; the rest spreads rows over banks.
// Accumulators follow the layout of mma.m16n8: warp w covers rows 16 (w % 4) .. + 15 and columns
// 32 (w / 4) .. + 31, and lane l holds, in each 16 x 8 part, rows l / 4 and l / 4 + 8 of columns
// 2 (l % 4) and 2 (l % 4) + 1.
#pragma once

#include <type_traits>

#include "kernels/common/common.cuh"

namespace wyvern {

constexpr int kTile = 64;
constexpr int kTileThreads = 256;
template <typename T>
constexpr int kTileLd = kTile + 16 / static_cast<int>(sizeof(T));
template <typename T>
constexpr int kTileSize = kTile* kTileLd<T>;  // elements
template <typename T>
constexpr size_t kTileBytes = kTileSize<T> * sizeof(T);

template <typename T>
constexpr bool kIsBf16 = std::is_same_v<T, Bf16>;

__device__ __forceinline__ int LaneId() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int WarpId() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// One 64 x 64 accumulator, spread over the block.
struct TileAcc {
  float c[4][4];  // [16 x 8 part][element]
};

__device__ __forceinline__ void Clear(TileAcc& acc) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) acc.c[i][j] = 0.f;
  }
}

// fn(row, column, first, second): the accumulator's elements in pairs of adjacent columns.
template <class F>
__device__ __forceinline__ void ForEachPair(TileAcc& acc, F&& fn) {
  const int lane = LaneId(), warp = WarpId();
  const int row = 16 * (warp % 4) + lane / 4, column = 32 * (warp / 4) + 2 * (lane % 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    fn(row, column + 8 * i, acc.c[i][0], acc.c[i][1]);
    fn(row + 8, column + 8 * i, acc.c[i][2], acc.c[i][3]);
  }
}

// The same with `half`, 0 or 1, telling the thread's two rows apart, and `part` its four columns
// apart; both are compile-time constants after unrolling.
template <class F>
__device__ __forceinline__ void ForEachPairIndexed(TileAcc& acc, F&& fn) {
  const int lane = LaneId(), warp = WarpId();
  const int row = 16 * (warp % 4) + lane / 4, column = 32 * (warp / 4) + 2 * (lane % 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    fn(row, column + 8 * i, 0, i, acc.c[i][0], acc.c[i][1]);
    fn(row + 8, column + 8 * i, 1, i, acc.c[i][2], acc.c[i][3]);
  }
}

// ---- Tensor core instructions ----

__device__ __forceinline__ uint32_t PackBf16(Bf16 low, Bf16 high) {
  return static_cast<uint32_t>(low.bits) | (static_cast<uint32_t>(high.bits) << 16);
}
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  return PackBf16(FromFloatDevice<Bf16>(low), FromFloatDevice<Bf16>(high));
}

__device__ __forceinline__ void MmaBf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <bool kTranspose>
__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4], const Bf16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
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

// acc += A B over an inner length of 64. A lies in `a` as [row][inner], or [inner][row] when
// kATransposed; B lies in `b` as [inner][column], or [column][inner] when kBTransposed.
template <bool kATransposed, bool kBTransposed, typename T>
__device__ __forceinline__ void TileMma(TileAcc& acc, const T* a, const T* b) {
  constexpr int kLd = kTileLd<T>;
  const int lane = LaneId(), warp = WarpId();
  const int row0 = 16 * (warp % 4), column0 = 32 * (warp / 4);
  if constexpr (kIsBf16<T>) {
    // ldmatrix reads four 8 x 8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
    const int inner_row = lane % 8, matrix = lane / 8;
    const Bf16* a_lane = kATransposed
                             ? a + (inner_row + (matrix / 2) * 8) * kLd + row0 + (matrix % 2) * 8
                             : a + (row0 + lane % 16) * kLd + (lane / 16) * 8;
    const Bf16* b_lane =
        kBTransposed ? b + (column0 + inner_row + (matrix / 2) * 8) * kLd + (matrix % 2) * 8
                     : b + (inner_row + (matrix % 2) * 8) * kLd + column0 + (matrix / 2) * 8;
#pragma unroll
    for (int k = 0; k < kTile; k += 16) {
      uint32_t ra[4], rb[4];
      LoadMatrix4<kATransposed>(ra, a_lane + (kATransposed ? k * kLd : k));
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        LoadMatrix4<!kBTransposed>(
            rb, b_lane + (kBTransposed ? pair * 16 * kLd + k : k * kLd + pair * 16));
        MmaBf16(acc.c[2 * pair], ra, rb[0], rb[1]);
        MmaBf16(acc.c[2 * pair + 1], ra, rb[2], rb[3]);
      }
    }
  } else {
    const int row = row0 + lane / 4, column = column0 + 2 * (lane % 4);
#pragma unroll 4
    for (int k = 0; k < kTile; ++k) {
      float x[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        x[i] = kATransposed ? a[k * kLd + row + 8 * i] : a[(row + 8 * i) * kLd + k];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int n = column + 8 * i + j;
          const float y = kBTransposed ? b[n * kLd + k] : b[k * kLd + n];
          acc.c[i][j] = fmaf(x[0], y, acc.c[i][j]);
          acc.c[i][2 + j] = fmaf(x[1], y, acc.c[i][2 + j]);
        }
      }
    }
  }
}

// ---- Products whose operands are computed, not stored ----
// One warp, 16 x 8 outputs, inner length 16. Operands are given by functions that return T.

template <typename T>
struct FragmentA {
  uint32_t r[4];
};
template <>
struct FragmentA<float> {
  float r[2][16];
};
template <typename T>
struct FragmentB {
  uint32_t r[2];
};
template <>
struct FragmentB<float> {
  float r[16][2];
};

// fn(row, inner, x, y) computes the elements of two A operands at once.
template <typename T, class F>
__device__ __forceinline__ void MakeFragmentsA(FragmentA<T>& fx, FragmentA<T>& fy, F&& fn) {
  const int row = LaneId() / 4, t = LaneId() % 4;
  if constexpr (kIsBf16<T>) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = row + 8 * (i % 2), k = 2 * t + 8 * (i / 2);
      T x0, y0, x1, y1;
      fn(r, k, x0, y0);
      fn(r, k + 1, x1, y1);
      fx.r[i] = PackBf16(x0, x1);
      fy.r[i] = PackBf16(y0, y1);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int k = 0; k < 16; ++k) fn(row + 8 * i, k, fx.r[i][k], fy.r[i][k]);
    }
  }
}

// fn(row, inner)
template <typename T, class F>
__device__ __forceinline__ void MakeFragmentA(FragmentA<T>& fx, F&& fn) {
  const int row = LaneId() / 4, t = LaneId() % 4;
  if constexpr (kIsBf16<T>) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = row + 8 * (i % 2), k = 2 * t + 8 * (i / 2);
      fx.r[i] = PackBf16(fn(r, k), fn(r, k + 1));
    }
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int k = 0; k < 16; ++k) fx.r[i][k] = fn(row + 8 * i, k);
    }
  }
}

// fn(inner, column)
template <typename T, class F>
__device__ __forceinline__ void MakeFragmentB(FragmentB<T>& f, F&& fn) {
  const int g = LaneId() / 4, t = LaneId() % 4;
  if constexpr (kIsBf16<T>) {
    f.r[0] = PackBf16(fn(2 * t, g), fn(2 * t + 1, g));
    f.r[1] = PackBf16(fn(2 * t + 8, g), fn(2 * t + 9, g));
  } else {
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      f.r[k][0] = fn(k, 2 * t);
      f.r[k][1] = fn(k, 2 * t + 1);
    }
  }
}

// c += a b. For T = float the sum may be kept in double.
template <typename T, typename Sum>
__device__ __forceinline__ void FragmentMma(Sum (&c)[4], const FragmentA<T>& a,
                                            const FragmentB<T>& b) {
  if constexpr (kIsBf16<T>) {
    MmaBf16(c, a.r, b.r[0], b.r[1]);
  } else {
#pragma unroll
    for (int k = 0; k < 16; ++k) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        c[j] = fma(static_cast<Sum>(a.r[0][k]), static_cast<Sum>(b.r[k][j]), c[j]);
        c[2 + j] = fma(static_cast<Sum>(a.r[1][k]), static_cast<Sum>(b.r[k][j]), c[2 + j]);
      }
    }
  }
}

// c (16 x 8) += a[row0 .. + 15][inner0 .. + 7] b[inner0 .. + 7][column0 .. + 7], tiles in shared
// memory.
template <typename T, typename Sum>
__device__ __forceinline__ void ProductOf8(Sum (&c)[4], const T* a, const T* b, int row0,
                                           int inner0, int column0) {
  constexpr int kLd = kTileLd<T>;
  const int g = LaneId() / 4, t = LaneId() % 4;
  if constexpr (kIsBf16<T>) {
    const T* rows = a + (row0 + g) * kLd + inner0 + 2 * t;
    const T* columns = b + (inner0 + 2 * t) * kLd + column0 + g;
    const uint32_t a0 = *reinterpret_cast<const uint32_t*>(rows);
    const uint32_t a1 = *reinterpret_cast<const uint32_t*>(rows + 8 * kLd);
    const uint32_t b0 = PackBf16(columns[0], columns[kLd]);
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
  } else {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float a0 = a[(row0 + g) * kLd + inner0 + k], a1 = a[(row0 + g + 8) * kLd + inner0 + k];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const Sum y = b[(inner0 + k) * kLd + column0 + 2 * t + j];
        c[j] = fma(static_cast<Sum>(a0), y, c[j]);
        c[2 + j] = fma(static_cast<Sum>(a1), y, c[2 + j]);
      }
    }
  }
}

// ---- Moving tiles ----

// acc, rounded, into a tile.
template <typename T>
__device__ __forceinline__ void StoreAcc(T* tile, TileAcc& acc) {
  ForEachPair(acc, [&](int row, int column, float x, float y) {
    if constexpr (kIsBf16<T>) {
      *reinterpret_cast<uint32_t*>(tile + row * kTileLd<T> + column) = PackBf16(x, y);
    } else {
      *reinterpret_cast<float2*>(tile + row * kTileLd<T> + column) = make_float2(x, y);
    }
  });
}

__device__ __forceinline__ void CopyAsync16(void* shared, const void* global, bool valid) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;  // what is not copied is set to zero
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global),
               "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Whether rows of `length` elements, contiguous or a multiple of it apart, can move in 16-byte
// pieces (given a 16-byte aligned first row).
template <typename T>
__host__ __device__ constexpr bool RowsMoveInVectors(int64_t length) {
  return length * static_cast<int64_t>(sizeof(T)) % 16 == 0;
}

// tile[r][c] = from[r * ld + c] for r < rows, c < columns, else 0. Needs CommitCopies, WaitCopies
// and a barrier before it is read. `vectors`: RowsMoveInVectors of ld, and `from` aligned.
template <typename T>
__device__ __forceinline__ void LoadTile(T* tile, const T* from, int64_t ld, int rows, int columns,
                                         bool vectors) {
  if (vectors) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(T)), kRow = kTile / kPer;
#pragma unroll
    for (int i = threadIdx.x; i < kTile * kRow; i += kTileThreads) {
      const int r = i / kRow, c = i % kRow * kPer;
      const bool valid = r < rows && c < columns;
      CopyAsync16(tile + r * kTileLd<T> + c, valid ? from + r * ld + c : from, valid);
    }
  } else {
    for (int i = threadIdx.x; i < kTile * kTile; i += kTileThreads) {
      const int r = i / kTile, c = i % kTile;
      tile[r * kTileLd<T> + c] =
          r < rows && c < columns ? from[r * ld + c] : FromFloatDevice<T>(0.f);
    }
  }
}

// to[r * ld + c] = tile[r][c] for r < rows, c < columns.
template <typename T>
__device__ __forceinline__ void StoreTile(T* to, const T* tile, int64_t ld, int rows, int columns,
                                          bool vectors) {
  if (vectors) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(T)), kRow = kTile / kPer;
#pragma unroll 1
    for (int i = threadIdx.x; i < kTile * kRow; i += kTileThreads) {
      const int r = i / kRow, c = i % kRow * kPer;
      if (r < rows && c < columns) {
        *reinterpret_cast<uint4*>(to + r * ld + c) =
            *reinterpret_cast<const uint4*>(tile + r * kTileLd<T> + c);
      }
    }
  } else {
    for (int i = threadIdx.x; i < kTile * kTile; i += kTileThreads) {
      const int r = i / kTile, c = i % kTile;
      if (r < rows && c < columns) to[r * ld + c] = tile[r * kTileLd<T> + c];
    }
  }
}

}  // namespace wyvern
