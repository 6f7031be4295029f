// Pieces of the tiled attention kernels: which tile a block owns, copies of tiles to shared memory,
// warp-level bf16 GEMMs.
//
// Tiles in shared memory are [rows, padded_dim] with 16 bytes of padding behind each row, so that
// ldmatrix and float4 reads of eight rows at one column touch different banks. What lies beyond the
// document or the head dim is zero.
#pragma once

#include "kernels/attention/attention_plan.h"
#include "kernels/common/common.cuh"

namespace wyvern::attention {

template <typename T, int kDim>
constexpr int kStride = kDim + 16 / static_cast<int>(sizeof(T));
template <typename T, int kDim>
constexpr int TileBytes(int rows) {
  return rows * kStride<T, kDim> * static_cast<int>(sizeof(T));
}

// A document as the kernels see it; positions are relative to it. The launch replaces windows that
// reach over every document by none, so that positions plus a window fit an int.
struct Document {
  int q_begin, k_begin, num_q, num_k;
  int offset;  // key position of the first query
};

__device__ __forceinline__ Document GetDocument(const AttentionShape& s, int n) {
  Document d;
  d.q_begin = s.device_cu_seqlens_q[n];
  d.k_begin = s.device_cu_seqlens_k[n];
  d.num_q = s.device_cu_seqlens_q[n + 1] - d.q_begin;
  const int* const k_end =
      s.device_key_ends != nullptr ? s.device_key_ends + n : s.device_cu_seqlens_k + n + 1;
  d.num_k = *k_end - d.k_begin;
  d.offset = d.num_k - d.num_q;
  return d;
}

// Keys [begin, end) that some query among [first, last] (key positions) sees.
struct Range {
  int begin, end;
};

__device__ __forceinline__ Range KeysOf(const AttentionShape& s, int first, int last) {
  const int window = static_cast<int>(s.window);
  return {window == 0 || first < window ? 0 : first - window + 1, last + 1};
}

// Queries [begin, end) of the document that see some key among [first, last].
__device__ __forceinline__ Range QueriesOf(const AttentionShape& s, const Document& d, int first,
                                           int last) {
  const int window = static_cast<int>(s.window);
  return {max(0, first - d.offset),
          window == 0 ? d.num_q : max(0, min(d.num_q, last - d.offset + window))};
}

__device__ __forceinline__ bool Sees(const AttentionShape& s, int i, int j) {
  const int window = static_cast<int>(s.window);
  return j <= i && (window == 0 || j > i - window);
}

// Whether every query of key positions [i_first, i_last] sees every key of [j_first, j_last].
__device__ __forceinline__ bool AllSee(const AttentionShape& s, int i_first, int i_last,
                                       int j_first, int j_last) {
  return Sees(s, i_first, j_last) && Sees(s, i_last, j_first);
}

// --- copies ----------------------------------------------------------------------------------

__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void CommitCopies() { asm volatile("cp.async.commit_group;\n" ::); }
// Waits until at most kPending committed groups are still under way.
template <int kPending>
__device__ __forceinline__ void WaitCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Starts copying `rows` rows of `dim` elements, `row_stride` apart, into a tile of kRows rows; the
// rest of the tile becomes zero. `vectors`: every row starts at a multiple of 16 bytes and dim
// fills whole vectors.
template <int kRows, int kDim, int kThreads, typename T>
__device__ __forceinline__ void CopyTile(const T* from, int64_t row_stride, int rows, int dim,
                                         bool vectors, T* to) {
  if (vectors) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(T)), kChunks = kDim / kPer;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, column = i % kChunks * kPer;
      const bool inside = row < rows && column < dim;
      const T* source = inside ? from + row * row_stride + column : from;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(
                       SharedAddress(to + row * kStride<T, kDim> + column)),
                   "l"(source), "r"(inside ? 16 : 0)
                   : "memory");
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kDim; i += kThreads) {
      const int row = i / kDim, column = i % kDim;
      to[row * kStride<T, kDim> + column] =
          row < rows && column < dim ? from[row * row_stride + column] : T{};
    }
  }
}

// --- bf16 GEMMs of one warp (mma.sync m16n8k16) -------------------------------------------
//
// An accumulator of 16 x N floats is acc[N / 8][4]: lane l holds, of columns 8 n + 2 (l % 4) + {0,
// 1}, row l / 4 in elements 0, 1 and row l / 4 + 8 in elements 2, 3.

__device__ __forceinline__ void Mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], const Bf16* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(p))
               : "memory");
}

__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&r)[4], const Bf16* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(p))
               : "memory");
}

// acc[16, N] += A[16, kDim] B[N, kDim]^T, both tiles in shared memory.
template <int kDim, int kTiles>
__device__ __forceinline__ void MultiplyTransposed(const Bf16* a, const Bf16* b,
                                                   float (&acc)[kTiles][4]) {
  constexpr int kLd = kStride<Bf16, kDim>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const Bf16* a_lane = a + (lane % 16) * kLd + lane / 16 * 8;
  const Bf16* b_lane = b + (lane % 8 + lane / 16 * 8) * kLd + lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kDim; k += 16) {
    uint32_t x[4];
    LoadMatrices(x, a_lane + k);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      uint32_t y[4];
      LoadMatrices(y, b_lane + n * 8 * kLd + k);
      Mma(acc[n], x, y[0], y[1]);
      Mma(acc[n + 1], x, y[2], y[3]);
    }
  }
}

__device__ __forceinline__ uint32_t Pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// acc[16, kDim] += X[16, K] B[K, kDim], X an accumulator rounded to bf16, B in shared memory.
template <int kDim, int kTiles>
__device__ __forceinline__ void Multiply(const float (&x)[kTiles][4], const Bf16* b,
                                         float (&acc)[kDim / 8][4]) {
  constexpr int kLd = kStride<Bf16, kDim>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const Bf16* b_lane = b + (lane % 16) * kLd + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTiles; k += 2) {
    const uint32_t a[4] = {Pack(x[k][0], x[k][1]), Pack(x[k][2], x[k][3]),
                           Pack(x[k + 1][0], x[k + 1][1]), Pack(x[k + 1][2], x[k + 1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t y[4];
      LoadMatricesTransposed(y, b_lane + k * 8 * kLd + n * 8);
      Mma(acc[n], a, y[0], y[1]);
      Mma(acc[n + 1], a, y[2], y[3]);
    }
  }
}

// Writes factor[row half] times the warp's accumulator to rows of `dim` elements, `row_stride`
// apart, of which `rows` exist.
template <int kTiles>
__device__ __forceinline__ void StoreRows(const float (&acc)[kTiles][4], const float (&factor)[2],
                                          Bf16* to, int64_t row_stride, int rows, int dim) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + half * 8;
    if (row >= rows) continue;
    Bf16* out = to + row * row_stride;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int column = n * 8 + lane % 4 * 2;
      const float x = acc[n][half * 2] * factor[half], y = acc[n][half * 2 + 1] * factor[half];
      if (dim % 2 == 0) {  // rows then start at multiples of four bytes
        if (column < dim) *reinterpret_cast<uint32_t*>(out + column) = Pack(x, y);
      } else {
        if (column < dim) out[column] = FromFloatDevice<Bf16>(x);
        if (column + 1 < dim) out[column + 1] = FromFloatDevice<Bf16>(y);
      }
    }
  }
}

template <int kTiles>
__device__ __forceinline__ void Clear(float (&acc)[kTiles][4]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) acc[n][e] = 0;
  }
}

}  // namespace wyvern::attention
