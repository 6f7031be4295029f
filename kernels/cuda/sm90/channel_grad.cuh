// Pieces of GradChannels: what a warp, with 16 rows i (or columns j) of a chunk and 16 channels,
// makes of dP' = s dP and dM' = beta dM.
//
// Operands are rounded once, and rows and columns use the same rounded numbers, the factors of
// channels outside: so what pairs (i, j) add to dg of the rows cancels what they take from the
// columns', and the small rest is right (../gated_delta_rule_grad.cu).
#pragma once

#include "kernels/cuda/sm90/channel_decay.cuh"

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

// The thread's channels of `factor`, those of a square.
__device__ __forceinline__ float2 PairOf(const float* factor, int n) {
  return *reinterpret_cast<const float2*>(factor + 8 * n + 2 * (LaneId() % 4));
}

__device__ __forceinline__ void ScaleChannels(Square& x, const float* factor) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float2 f = PairOf(factor, n);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      x.c[n][2 * half] *= f.x;
      x.c[n][2 * half + 1] *= f.y;
    }
  }
}

// x += a b: `a` a block of dP' or dM', `b` a block of 16 rows and 16 channels, loaded transposed.
__device__ __forceinline__ void AddProduct(Square& x, const uint32_t (&a)[4],
                                           const uint32_t (&b)[4]) {
#pragma unroll
  for (int n = 0; n < 2; ++n) MmaBf16(x.c[n], a, b[2 * n], b[2 * n + 1]);
}

// Block (row, column) of a tile as a left operand, and its transpose.
__device__ __forceinline__ void LoadBlock(uint32_t (&a)[4], Bf16* tile, int row, int column) {
  LoadMatrices<false>(a, SquareRow(tile, row, column));
}
__device__ __forceinline__ void LoadBlockTransposed(uint32_t (&a)[4], Bf16* tile, int row,
                                                    int column) {
  uint32_t x[4];
  LoadMatrices<true>(x, SquareRow(tile, row, column));
  a[0] = x[0];
  a[1] = x[2];
  a[2] = x[1];
  a[3] = x[3];
}

// What the blocks left of the diagonal give the rows: p = sum_J dP'_J (k B)_J with the decay of the
// blocks between, m likewise. `next` + w * stride: e^(sum over block w) of the channels; `block`:
// their place in the tile of k B.
__device__ __forceinline__ void RowProducts(Square& p, Square& m, Bf16* dp, Bf16* dm, Bf16* columns,
                                            int block, const float* next, int stride) {
  const int warp = WarpOfGroup();
#pragma unroll
  for (int J = 0; J < 3; ++J) {
    if (J >= warp) continue;
    if (J > 0) {
      ScaleChannels(p, next + J * stride);
      ScaleChannels(m, next + J * stride);
    }
    uint32_t a[4], b[4];
    LoadMatrices<true>(b, SquareRow(columns, J, block));
    LoadBlock(a, dp, warp, J);
    AddProduct(p, a, b);
    LoadBlock(a, dm, warp, J);
    AddProduct(m, a, b);
  }
}

// What the blocks below the diagonal give the columns: sum_I dP'_I^T (q E)_I + dM'_I^T (k E)_I.
__device__ __forceinline__ void ColumnProducts(Square& x, Bf16* dp, Bf16* dm, Bf16* q_rows,
                                               Bf16* k_rows, int block, const float* next,
                                               int stride) {
  const int warp = WarpOfGroup();
#pragma unroll
  for (int I = 3; I > 0; --I) {
    if (I <= warp) continue;
    if (I < 3) ScaleChannels(x, next + I * stride);
    uint32_t a[4], b[4];
    LoadMatrices<true>(b, SquareRow(q_rows, I, block));
    LoadBlockTransposed(a, dp, I, warp);
    AddProduct(x, a, b);
    LoadMatrices<true>(b, SquareRow(k_rows, I, block));
    LoadBlockTransposed(a, dm, I, warp);
    AddProduct(x, a, b);
  }
}

// One thread's pairs of channels in rows lane / 4 and lane / 4 + 8 of the warp's.
struct Pairs {
  float x[2][2];  // [row][channel]
};
__device__ __forceinline__ Pairs UnpackPairs(uint32_t first, uint32_t second) {
  return {{{UnpackLow(first), UnpackHigh(first)}, {UnpackLow(second), UnpackHigh(second)}}};
}

// What the block on the diagonal adds to the gradients of r q and r k, times r, and to the row's
// part of dg less the column's, in a part of 8 channels. Columns are taken in two halves of 8 rows,
// around the anchors of channel_decay.cuh. q, k: the rows as loaded; l: their running sums.
__device__ __forceinline__ void AddDiagonal(Pairs& dq, Pairs& dk, Pairs& u, const Pairs& q,
                                            const Pairs& k, const float (&query_norm)[2],
                                            const float (&key_norm)[2], const Pairs& l,
                                            const Anchors& anchors, Bf16* dp, Bf16* dm) {
  const int warp = WarpOfGroup();
  // r D; R around the first anchor; R around the second, of the later eight rows.
  Pairs column, row;
  float late[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    column.x[0][e] = key_norm[0] * Exp2(anchors.first[e] - l.x[0][e]);
    column.x[1][e] = key_norm[1] * Exp2(anchors.second[e] - l.x[1][e]);
    row.x[0][e] = Exp2(l.x[0][e] - anchors.first[e]);
    row.x[1][e] = Exp2(l.x[1][e] - anchors.first[e]);
    late[e] = Exp2(l.x[1][e] - anchors.second[e]);
  }
  const uint32_t columns[2] = {Pack(k.x[0][0] * column.x[0][0], k.x[0][1] * column.x[0][1]),
                               Pack(k.x[1][0] * column.x[1][0], k.x[1][1] * column.x[1][1])};
  const uint32_t first_columns = Transpose(columns[0]), second_columns = Transpose(columns[1]);
  float to_columns[4] = {};
  // dP' and q, or dM' and k.
  const auto add_rows = [&](Bf16* tile, const Pairs& x, const float(&norm)[2], Pairs& grad) {
    float first[4] = {}, second[4] = {};
    uint32_t a[4];
    LoadBlock(a, tile, warp, warp);
    MmaBf16K8(first, a[0], a[1], first_columns);
    MmaBf16K8(second, 0u, a[3], second_columns);
    uint32_t rows[3];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float f0 = norm[h] * row.x[h][0], f1 = norm[h] * row.x[h][1];
      rows[h] = Pack(x.x[h][0] * f0, x.x[h][1] * f1);
      grad.x[h][0] = fmaf(f0, first[2 * h], grad.x[h][0]);
      grad.x[h][1] = fmaf(f1, first[2 * h + 1], grad.x[h][1]);
      u.x[h][0] = fmaf(UnpackLow(rows[h]), first[2 * h], u.x[h][0]);
      u.x[h][1] = fmaf(UnpackHigh(rows[h]), first[2 * h + 1], u.x[h][1]);
    }
    const float f0 = norm[1] * late[0], f1 = norm[1] * late[1];
    rows[2] = Pack(x.x[1][0] * f0, x.x[1][1] * f1);
    grad.x[1][0] = fmaf(f0, second[2], grad.x[1][0]);
    grad.x[1][1] = fmaf(f1, second[3], grad.x[1][1]);
    u.x[1][0] = fmaf(UnpackLow(rows[2]), second[2], u.x[1][0]);
    u.x[1][1] = fmaf(UnpackHigh(rows[2]), second[3], u.x[1][1]);
    LoadBlockTransposed(a, tile, warp, warp);
    const uint32_t early[4] = {a[0], 0u, a[2], 0u};
    MmaBf16(to_columns, early, Transpose(rows[0]), Transpose(rows[1]));
    MmaBf16K8(to_columns, 0u, a[3], Transpose(rows[2]));
  };
  add_rows(dp, q, query_norm, dq);
  add_rows(dm, k, key_norm, dk);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    dk.x[h][0] = fmaf(column.x[h][0], to_columns[2 * h], dk.x[h][0]);
    dk.x[h][1] = fmaf(column.x[h][1], to_columns[2 * h + 1], dk.x[h][1]);
    u.x[h][0] = fmaf(-UnpackLow(columns[h]), to_columns[2 * h], u.x[h][0]);
    u.x[h][1] = fmaf(-UnpackHigh(columns[h]), to_columns[2 * h + 1], u.x[h][1]);
  }
}

// A pair of rows lane / 4 and lane / 4 + 8 of a channel becomes its sum over the warp's rows from
// the last one back to its own; returned: over all rows.
__device__ __forceinline__ float SumRowsBackward(float& first, float& second) {
  const int lane = LaneId();
#pragma unroll
  for (int offset = 4; offset < kWarpSize; offset *= 2) {
    const float a = __shfl_down_sync(0xffffffffu, first, offset);
    const float b = __shfl_down_sync(0xffffffffu, second, offset);
    if (lane + offset < kWarpSize) {
      first += a;
      second += b;
    }
  }
  first += __shfl_sync(0xffffffffu, second, lane % 4);
  return __shfl_sync(0xffffffffu, first, lane % 4);
}

// The pair becomes its sum over the warp's rows before its own; returned: over all rows.
__device__ __forceinline__ float SumRowsBefore(float& first, float& second) {
  const int lane = LaneId();
#pragma unroll
  for (int offset = 4; offset < kWarpSize; offset *= 2) {
    const float a = __shfl_up_sync(0xffffffffu, first, offset);
    const float b = __shfl_up_sync(0xffffffffu, second, offset);
    if (lane >= offset) {
      first += a;
      second += b;
    }
  }
  const float first_total = __shfl_sync(0xffffffffu, first, 28 + lane % 4);
  const float total = first_total + __shfl_sync(0xffffffffu, second, 28 + lane % 4);
  const float a = __shfl_up_sync(0xffffffffu, first, 4);
  const float b = __shfl_up_sync(0xffffffffu, second, 4);
  first = lane >= 4 ? a : 0.f;
  second = lane >= 4 ? first_total + b : first_total;
  return total;
}

}  // namespace wyvern::sm90
