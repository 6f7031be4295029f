// ChunkGradChannels: the steps of a turn that know its decays. A warp has two times 16 channels,
// `step` 0 and 1.
#pragma once

#include "kernels/delta_rule/sm90/chunk_grad_channels.cuh"

namespace wyvern::sm90 {

// ---- Products within the chunk ----
//
// A warp has 16 rows i (or columns j) of a chunk and 16 channels, and multiplies with dP' = s dP
// and dM' = beta dM.
//
// Operands are rounded once, and rows and columns use the same rounded numbers, the factors of
// channels outside: so what pairs (i, j) add to dg of the rows cancels what they take from the
// columns', and the small rest is right (../cuda/chunk_grad.cu).

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

// The rows' part from blocks left of the diagonal: x = sum_J dP'_J (k B)_J, or with dM', with
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

// The columns' part from blocks below the diagonal: sum_I dP'_I^T (q E)_I + dM'_I^T (k E)_I.
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

// A thread's two rows of the block on the diagonal, as loaded, and their norms.
struct DiagonalRows {
  uint32_t q[2], k[2];
  float query_norm[2], key_norm[2];
};

// Adds the block on the diagonal in a part of 8 channels: to the gradients of r q and r k,
// times r (dq, dk), and to the row's part of dg less the column's (u), all in the layout of
// accumulators, as is l, the running sums. Columns are taken in two halves of 8 rows, around the
// anchors of channel_decay.cuh.
__device__ __forceinline__ void AddDiagonal(float (&dq)[4], float (&dk)[4], float (&u)[4],
                                            const DiagonalRows& own, const float (&l)[4],
                                            const Anchors& anchors, const Pairings& d) {
  float column[4];  // r D
  uint32_t columns[2], first_columns, second_columns;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float anchor = h == 0 ? anchors.first[e] : anchors.second[e];
      column[2 * h + e] = own.key_norm[h] * Exp2(anchor - l[2 * h + e]);
    }
    columns[h] =
        Pack(UnpackLow(own.k[h]) * column[2 * h], UnpackHigh(own.k[h]) * column[2 * h + 1]);
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
  add(d.dp, own.q, own.query_norm, dq);
  add(d.dm, own.k, own.key_norm, dk);
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

// ---- The steps of a turn ----

// Running sums of the warp's channels, and what all warps of the group make of them.
template <int kKeyBlocks, DeltaGate kForm>
__device__ __forceinline__ void SumDecays(GradShared<kKeyBlocks>& s, float (&sums)[2][2][4],
                                          const GateRate& gate, int rows) {
  const Who who = WhoAmI(s);
  uint32_t ones[4];
  MakeTriangle<false>(ones, who.lane);
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const int channel = who.channel() + 16 * step;
    RunningSums<kForm>(
        sums[step],
        BlockAt(s.gate[who.key_block()], LaneElement(who.lane), who.warp, 2 * who.half() + step),
        s.bias + channel, gate, rows - 16 * who.warp, ones, who.lane);
    if (who.lane >= 28) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        *reinterpret_cast<float2*>(&s.total[who.warp][channel + 8 * m + 2 * (who.lane - 28)]) =
            make_float2(sums[step][m][2], sums[step][m][3]);
      }
    }
  }
  Sync(kChannelGradGroup + who.group, kWarpgroupThreads);
  const int d = who.channel() + who.lane;
  float base = 0.f, rest = 0.f;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const float total = s.total[w][d];
    base += w < who.warp ? total : 0.f;
    rest += w > who.warp ? total : 0.f;
  }
  s.base[who.warp][d] = Exp2(base);
  s.rest[who.warp][d] = Exp2(rest);
  s.next[who.warp][d] = Exp2(s.total[who.warp][d]);
}

// r of this thread's two rows.
template <int kKeyBlocks>
__device__ __forceinline__ void NormsOf(const GradShared<kKeyBlocks>& s, RowFactor factor,
                                        const Who& who, float (&norm)[2]) {
  norm[0] = s.rows[factor][who.row()];
  norm[1] = s.rows[factor][who.row() + 8];
}

// q E, k E and k B. Rows beyond the chunk become zeros, since products sum over rows.
template <int kKeyBlocks>
__device__ __forceinline__ void StoreOperands(GradShared<kKeyBlocks>& s, float (&sums)[2][2][4],
                                              int rows) {
  const Who who = WhoAmI(s);
  float query_norm[2], key_norm[2];
  NormsOf(s, kQueryNorm, who, query_norm);
  NormsOf(s, kKeyNorm, who, key_norm);
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const int kb = who.key_block(),
              element =
                  (LaneElement(who.lane) ^ (2 * who.half() + step) << 4) + who.warp * 16 * kTile;
    uint32_t q[4], k[4], columns[4];
    LoadMatrices<false>(q, s.q[kb] + element);
    LoadMatrices<false>(k, s.k[kb] + element);
    if (rows < kChunk) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool valid = who.row() + 8 * (i % 2) < rows;
        q[i] = valid ? q[i] : 0u;
        k[i] = valid ? k[i] : 0u;
      }
      StoreMatrices<false>(s.q[kb] + element, q);
      StoreMatrices<false>(s.k[kb] + element, k);
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const Anchors anchors = AnchorsOf(sums[step][m], who.lane);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        uint32_t &q_pair = q[2 * m + h], &k_pair = k[2 * m + h];
        const float l0 = sums[step][m][2 * h], l1 = sums[step][m][2 * h + 1], r = key_norm[h];
        const float e0 = Exp2(l0), e1 = Exp2(l1);
        columns[2 * m + h] = Pack(UnpackLow(k_pair) * (r * Exp2(anchors.last[0] - l0)),
                                  UnpackHigh(k_pair) * (r * Exp2(anchors.last[1] - l1)));
        q_pair = Pack(UnpackLow(q_pair) * (query_norm[h] * e0),
                      UnpackHigh(q_pair) * (query_norm[h] * e1));
        k_pair = Pack(UnpackLow(k_pair) * (r * e0), UnpackHigh(k_pair) * (r * e1));
      }
    }
    StoreMatrices<false>(s.q_rows[kb] + element, q);
    StoreMatrices<false>(s.k_rows[kb] + element, k);
    StoreMatrices<false>(s.gate[kb] + element, columns);
  }
}

// From dO S, dv S and e dS+ (x1, x2, x3) to r dq, r dk and what the warp's own rows give dg.
template <int kKeyBlocks>
__device__ __forceinline__ void AddWithinChunk(GradShared<kKeyBlocks>& s, NarrowAccumulator& x1,
                                               NarrowAccumulator& x2, NarrowAccumulator& x3,
                                               float (&sums)[2][2][4], int rows, float scale) {
  constexpr int kKeyDim = GradConfig<kKeyBlocks>::kKeyDim;
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const Who who = WhoAmI(s);
    const int lane = who.lane, warp = who.warp, kb = who.key_block();
    const int lane_element = LaneElement(lane);
    const int column_element = lane_element ^ (2 * who.half() + step) << 4;
    const int element = column_element + warp * 16 * kTile;
    const int channel = who.channel() + 16 * step + 2 * (lane % 4);
    const Pairings pairings = {s.dp, s.dm, lane_element, warp};
    float query_norm[2], key_norm[2];
    NormsOf(s, kQueryNorm, who, query_norm);
    NormsOf(s, kKeyNorm, who, key_norm);
    const bool valid[2] = {who.row() < rows, who.row() + 8 < rows};
    float u[2][4];
    // Rows of q, then of k. The same factor stands before what comes from S and from earlier
    // blocks.
    const auto add_rows = [&](NarrowAccumulator& x, const Bf16* pairs, const Bf16* rounded,
                              const float(&norm)[2], float state_scale, bool first) {
      Square from_blocks;
      RowProducts(from_blocks, pairs, lane_element, warp, s.gate[kb] + column_element,
                  &s.next[0][channel], kKeyDim);
      uint32_t row[4];
      LoadMatrices<false>(row, rounded);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const float2 base = *reinterpret_cast<const float2*>(&s.base[warp][channel + 8 * m]);
#pragma unroll
        for (int at = 0; at < 4; ++at) {
          const int h = at / 2, e = at % 2;
          const float grad = fmaf(state_scale * (e == 0 ? base.x : base.y), x.c[2 * step + m][at],
                                  from_blocks.c[m][at]);
          u[m][at] = fmaf(Element(row[2 * m + h], e), grad, first ? 0.f : u[m][at]);
          x.c[2 * step + m][at] = norm[h] * Exp2(sums[step][m][at]) * grad;
        }
      }
    };
    add_rows(x1, s.dp, s.q_rows[kb] + element, query_norm, scale, true);
    add_rows(x2, s.dm, s.k_rows[kb] + element, key_norm, -1.f, false);
    uint32_t before[4];  // the rows before each
    MakeTriangle<true>(before, lane);
    {
      Square from_rows;
      ColumnProducts(from_rows, pairings, s.q_rows[kb] + column_element,
                     s.k_rows[kb] + column_element, &s.next[0][channel], kKeyDim);
      uint32_t columns[4];
      LoadMatrices<false>(columns, s.gate[kb] + element);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const float2 rest = *reinterpret_cast<const float2*>(&s.rest[warp][channel + 8 * m]);
        float last[2], z[4];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          last[e] = __shfl_sync(0xffffffffu, sums[step][m][2 + e], 28 + lane % 4);
        }
#pragma unroll
        for (int at = 0; at < 4; ++at) {
          const int h = at / 2, e = at % 2;
          const float column = Element(columns[2 * m + h], e);
          const float from_d_state = (e == 0 ? rest.x : rest.y) * x3.c[2 * step + m][at];
          u[m][at] = fmaf(-column, from_rows.c[m][at], u[m][at]);
          x2.c[2 * step + m][at] = fmaf(key_norm[h] * Exp2(last[e] - sums[step][m][at]),
                                        from_d_state + from_rows.c[m][at], x2.c[2 * step + m][at]);
          // Rows beyond the chunk may hold anything.
          u[m][at] = valid[h] ? u[m][at] : 0.f;
          z[at] = valid[h] ? column * from_d_state : 0.f;
          x3.c[2 * step + m][at] = 0.f;
        }
        const float last_z[2] = {z[2], z[3]};
        AddRowSums<2>(x3.c[2 * step + m], before, z);
        if (lane >= 28) {  // rest of these channels has been read, by this warp alone
          *reinterpret_cast<float2*>(&s.rest[warp][channel + 8 * m]) =
              make_float2(x3.c[2 * step + m][2] + last_z[0], x3.c[2 * step + m][3] + last_z[1]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) before[i] ^= 0x3f803f80u;  // from here on each row and those after
    uint32_t q[4], k[4];
    LoadMatrices<false>(q, s.q[kb] + element);
    LoadMatrices<false>(k, s.k[kb] + element);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const DiagonalRows own = {{q[2 * m], q[2 * m + 1]},
                                {k[2 * m], k[2 * m + 1]},
                                {query_norm[0], query_norm[1]},
                                {key_norm[0], key_norm[1]}};
      AddDiagonal(x1.c[2 * step + m], x2.c[2 * step + m], u[m], own, sums[step][m],
                  AnchorsOf(sums[step][m], lane), pairings);
      AddRowSums<3>(x3.c[2 * step + m], before, u[m]);
      if (lane < 4) {  // the first row, which none precedes: base has been read as well
        *reinterpret_cast<float2*>(&s.base[warp][channel + 8 * m]) =
            make_float2(x3.c[2 * step + m][0], x3.c[2 * step + m][1]);
      }
    }
  }
}

// From dg to the gate's gradient in s.q_rows; x3 is what the warp's own rows give dg. `raw`: the
// gates, in the order of left operands. A barrier of the group comes before.
template <int kKeyBlocks, DeltaGate kForm>
__device__ __forceinline__ void StoreGates(GradShared<kKeyBlocks>& s, NarrowAccumulator& x3,
                                           uint32_t (&raw)[2][4], const GateRate& gate, int rows) {
  const Who who = WhoAmI(s);
  const int lane = who.lane, warp = who.warp;
  {
    const int d = who.channel() + lane;
    float total = 0.f, dg = 0.f, state_dot = 0.f;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      total += s.total[w][d];
      state_dot += s.state_dot[w][d];
      if (w > warp) dg += s.base[w][d];
      if (w < warp) dg += s.rest[w][d];
    }
    s.next[warp][d] = fmaf(Exp2(total), state_dot, dg);
  }
  __syncwarp();
  float a_log_sum = 0.f;
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const int channel = who.channel() + 16 * step + 2 * (lane % 4);
    uint32_t packed[4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float2 dg_others = *reinterpret_cast<const float2*>(&s.next[warp][channel + 8 * m]);
      const float2 bias = *reinterpret_cast<const float2*>(&s.bias[channel + 8 * m]);
      float bias_sum[2] = {0.f, 0.f};
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t pair = raw[step][2 * m + h];
        const float* const dg = x3.c[2 * step + m] + 2 * h;
        const GateGradient g0 =
            LogDecayBackward<kForm>(dg[0] + dg_others.x, UnpackLow(pair) + bias.x, gate);
        const GateGradient g1 =
            LogDecayBackward<kForm>(dg[1] + dg_others.y, UnpackHigh(pair) + bias.y, gate);
        packed[2 * m + h] = Pack(g0.d_x, g1.d_x);
        const bool valid = who.row() + 8 * h < rows;
        bias_sum[0] += valid ? g0.d_x : 0.f;
        bias_sum[1] += valid ? g1.d_x : 0.f;
        a_log_sum += valid ? g0.d_a_log + g1.d_a_log : 0.f;
      }
      if constexpr (kForm != DeltaGate::kLogDecay) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
#pragma unroll
          for (int offset = 4; offset < kWarpSize; offset *= 2) {
            bias_sum[e] += __shfl_xor_sync(0xffffffffu, bias_sum[e], offset);
          }
        }
        if (lane < 4) {
          *reinterpret_cast<float2*>(&s.bias_sum[warp][channel + 8 * m]) =
              make_float2(bias_sum[0], bias_sum[1]);
        }
      }
    }
    StoreMatrices<false>(
        BlockAt(s.q_rows[who.key_block()], LaneElement(lane), warp, 2 * who.half() + step), packed);
  }
  if constexpr (kForm != DeltaGate::kLogDecay) {
    a_log_sum = WarpSum(a_log_sum);
    if (lane == 0) s.a_log_sum[4 * who.group + warp] = a_log_sum;
  }
}

// The warp's part of the rows' products of x and raw.
template <int kGroups>
__device__ __forceinline__ void StoreDots(float (&dots)[kGroups][2][kChunk], int which,
                                          const NarrowAccumulator& x, const Bf16* raw,
                                          const Who& who) {
  float sum[2] = {0.f, 0.f};
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t pairs[4];
    LoadMatrices<false>(pairs,
                        BlockAt(raw, LaneElement(who.lane), who.warp, 2 * who.half() + step));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = x.c[2 * step + i / 2] + 2 * (i % 2);
      sum[i % 2] =
          fmaf(UnpackLow(pairs[i]), pair[0], fmaf(UnpackHigh(pairs[i]), pair[1], sum[i % 2]));
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    if (who.lane % 4 == 0) dots[who.group][which][who.row() + 8 * h] = sum[h];
  }
}

// x, r times the gradient of n = r raw, becomes that of raw: r dn - (r dn n) n.
template <int kGroups>
__device__ __forceinline__ void FinishKeys(NarrowAccumulator& x,
                                           const float (&dots)[kGroups][2][kChunk], int which,
                                           const float (&norm)[2], const Bf16* raw,
                                           const Who& who) {
  float along[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float sum = 0.f;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) sum += dots[g][which][who.row() + 8 * h];
    along[h] = -sum * norm[h] * norm[h];
  }
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t pairs[4];
    LoadMatrices<false>(pairs,
                        BlockAt(raw, LaneElement(who.lane), who.warp, 2 * who.half() + step));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const pair = x.c[2 * step + i / 2] + 2 * (i % 2);
      pair[0] = fmaf(along[i % 2], UnpackLow(pairs[i]), pair[0]);
      pair[1] = fmaf(along[i % 2], UnpackHigh(pairs[i]), pair[1]);
    }
  }
}

}  // namespace wyvern::sm90
