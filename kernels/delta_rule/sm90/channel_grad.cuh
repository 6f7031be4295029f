// Pieces of GradChannels: what a warp, with 16 rows i (or columns j) of a chunk and 16 channels,
// makes of dP' = s dP and dM' = beta dM.
//
// Operands are rounded once, and rows and columns use the same rounded numbers, the factors of
// channels outside: so what pairs (i, j) add to dg of the rows cancels what they take from the
// columns', and the small rest is right (../gated_delta_rule_grad.cu).
#pragma once

#include "kernels/delta_rule/sm90/channel_decay.cuh"

namespace wyvern::sm90 {

// A 16 x 16 result, in two parts of 8 columns.
struct Square {
  float c[2][4] = {};
};

__device__ __forceinline__ void MmaBf16K8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b0));
}

// The 8 x 8 matrix whose rows are spread over groups of four lanes, transposed.
__device__ __forceinline__ uint32_t Transpose(uint32_t x) {
  uint32_t y;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(y) : "r"(x));
  return y;
}

// Element e, 0 or 1, of a pair.
__device__ __forceinline__ float Element(uint32_t pair, int e) {
  return e == 0 ? UnpackLow(pair) : UnpackHigh(pair);
}

// Tiles of dP' and dM', and how the products within a chunk see them: this lane's offset in a block
// of 16 x 16, and the warp's block of rows.
struct Pairings {
  const Bf16 *dp, *dm;
  int lane_element, warp;
};

// Block (row, column) of a tile as a left operand, and its transpose.
__device__ __forceinline__ void LoadBlock(uint32_t (&a)[4], const Bf16* tile, int lane_element,
                                          int row, int column) {
  LoadMatrices<false>(a, BlockAt(tile, lane_element, row, column));
}
__device__ __forceinline__ void LoadBlockTransposed(uint32_t (&a)[4], const Bf16* tile,
                                                    int lane_element, int row, int column) {
  uint32_t x[4];
  LoadMatrices<true>(x, BlockAt(tile, lane_element, row, column));
  a[0] = x[0];
  a[1] = x[2];
  a[2] = x[1];
  a[3] = x[3];
}

// Factors of this thread's pairs of channels: `factor` points to the first pair.
__device__ __forceinline__ void ScaleChannels(Square& x, const float* factor) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float2 f = *reinterpret_cast<const float2*>(factor + 8 * n);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      x.c[n][2 * h] *= f.x;
      x.c[n][2 * h + 1] *= f.y;
    }
  }
}

// x += a b: `a` a block of dP' or dM', `b` a block of 16 rows and 16 channels, loaded transposed.
__device__ __forceinline__ void AddProduct(Square& x, const uint32_t (&a)[4],
                                           const uint32_t (&b)[4]) {
#pragma unroll
  for (int n = 0; n < 2; ++n) MmaBf16(x.c[n], a, b[2 * n], b[2 * n + 1]);
}

// What the blocks left of the diagonal give the rows: x = sum_J dP'_J (k B)_J, or with dM', with
// the decay of the blocks between. `columns`: this lane's row of the first block of k B; `next` + w
// * stride: e^(sum over block w) of the thread's channels.
__device__ __forceinline__ void RowProducts(Square& x, const Bf16* tile, int lane_element, int warp,
                                            const Bf16* columns, const float* next, int stride) {
#pragma unroll
  for (int J = 0; J < 3; ++J) {
    if (J >= warp) continue;
    if (J > 0) ScaleChannels(x, next + J * stride);
    uint32_t a[4], b[4];
    LoadMatrices<true>(b, columns + J * 16 * kTile);
    LoadBlock(a, tile, lane_element, warp, J);
    AddProduct(x, a, b);
  }
}

// What the blocks below the diagonal give the columns: sum_I dP'_I^T (q E)_I + dM'_I^T (k E)_I.
__device__ __forceinline__ void ColumnProducts(Square& x, const Pairings& d, const Bf16* q_rows,
                                               const Bf16* k_rows, const float* next, int stride) {
#pragma unroll
  for (int I = 3; I > 0; --I) {
    if (I <= d.warp) continue;
    if (I < 3) ScaleChannels(x, next + I * stride);
    uint32_t a[4], b[4];
    LoadMatrices<true>(b, q_rows + I * 16 * kTile);
    LoadBlockTransposed(a, d.dp, d.lane_element, I, d.warp);
    AddProduct(x, a, b);
    LoadMatrices<true>(b, k_rows + I * 16 * kTile);
    LoadBlockTransposed(a, d.dm, d.lane_element, I, d.warp);
    AddProduct(x, a, b);
  }
}

// What the block on the diagonal adds in a part of 8 channels: to the gradients of r q and r k,
// times r (dq, dk), and to the row's part of dg less the column's (u), all in the layout of
// accumulators, as is l, the running sums. Columns are taken in two halves of 8 rows, around the
// anchors of channel_decay.cuh. q, k: the rows as loaded.
__device__ __forceinline__ void AddDiagonal(float (&dq)[4], float (&dk)[4], float (&u)[4],
                                            const uint32_t (&q)[2], const uint32_t (&k)[2],
                                            const float (&query_norm)[2],
                                            const float (&key_norm)[2], const float (&l)[4],
                                            const Anchors& anchors, const Pairings& d) {
  float column[4];  // r D
  uint32_t columns[2], first_columns, second_columns;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float anchor = h == 0 ? anchors.first[e] : anchors.second[e];
      column[2 * h + e] = key_norm[h] * Exp2(anchor - l[2 * h + e]);
    }
    columns[h] = Pack(UnpackLow(k[h]) * column[2 * h], UnpackHigh(k[h]) * column[2 * h + 1]);
  }
  first_columns = Transpose(columns[0]);
  second_columns = Transpose(columns[1]);
  // R around the first anchor, and around the second of the later eight rows.
  float row[4], late[2], to_columns[4] = {};
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    row[e] = Exp2(l[e] - anchors.first[e]);
    row[2 + e] = Exp2(l[2 + e] - anchors.first[e]);
    late[e] = Exp2(l[2 + e] - anchors.second[e]);
  }
  // dP' and q, or dM' and k.
  const auto add = [&](const Bf16* tile, const uint32_t(&x)[2], const float(&norm)[2],
                       float(&grad)[4]) {
    float first[4] = {}, second[4] = {};
    uint32_t a[4], rows[3];
    LoadBlock(a, tile, d.lane_element, d.warp, d.warp);
    MmaBf16K8(first, a[0], a[1], first_columns);
    MmaBf16K8(second, 0u, a[3], second_columns);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float f0 = norm[h] * row[2 * h], f1 = norm[h] * row[2 * h + 1];
      rows[h] = Pack(UnpackLow(x[h]) * f0, UnpackHigh(x[h]) * f1);
      grad[2 * h] = fmaf(f0, first[2 * h], grad[2 * h]);
      grad[2 * h + 1] = fmaf(f1, first[2 * h + 1], grad[2 * h + 1]);
      u[2 * h] = fmaf(UnpackLow(rows[h]), first[2 * h], u[2 * h]);
      u[2 * h + 1] = fmaf(UnpackHigh(rows[h]), first[2 * h + 1], u[2 * h + 1]);
    }
    const float f0 = norm[1] * late[0], f1 = norm[1] * late[1];
    rows[2] = Pack(UnpackLow(x[1]) * f0, UnpackHigh(x[1]) * f1);
    grad[2] = fmaf(f0, second[2], grad[2]);
    grad[3] = fmaf(f1, second[3], grad[3]);
    u[2] = fmaf(UnpackLow(rows[2]), second[2], u[2]);
    u[3] = fmaf(UnpackHigh(rows[2]), second[3], u[3]);
    LoadBlockTransposed(a, tile, d.lane_element, d.warp, d.warp);
    const uint32_t early[4] = {a[0], 0u, a[2], 0u};
    MmaBf16(to_columns, early, Transpose(rows[0]), Transpose(rows[1]));
    MmaBf16K8(to_columns, 0u, a[3], Transpose(rows[2]));
  };
  add(d.dp, q, query_norm, dq);
  add(d.dm, k, key_norm, dk);
#pragma unroll
  for (int at = 0; at < 4; ++at) {
    dk[at] = fmaf(column[at], to_columns[at], dk[at]);
    u[at] = fmaf(-Element(columns[at / 2], at % 2), to_columns[at], u[at]);
  }
}

// sums += ones x, over the warp's 16 rows: x in the layout of sums, split into kTerms bf16 terms,
// of which three keep all bits; `ones`, a left operand, holds ones and zeros. Destroys x.
template <int kTerms>
__device__ __forceinline__ void AddRowSums(float (&sums)[4], const uint32_t (&ones)[4],
                                           float (&x)[4]) {
#pragma unroll
  for (int term = 0; term < kTerms; ++term) {
    uint32_t rounded[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      rounded[h] = Pack(x[2 * h], x[2 * h + 1]);
      x[2 * h] -= UnpackLow(rounded[h]);
      x[2 * h + 1] -= UnpackHigh(rounded[h]);
    }
    MmaBf16(sums, ones, Transpose(rounded[0]), Transpose(rounded[1]));
  }
}

}  // namespace wyvern::sm90
