// GradChannels: the steps of a chunk and value head that know its decays.
#pragma once

#include "kernels/cuda/sm90/delta_grad_channel.cuh"

namespace wyvern::sm90 {

// Running sums of the warp's 32 channels, and what all warps of the group make of them.
template <int kKeyBlocks, DeltaGate kForm>
__device__ __forceinline__ void SumDecays(GradShared<kKeyBlocks>& s, float (&sums)[2][2][4],
                                          const GateRate& gate, int rows) {
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads, warp = WarpOfGroup();
  const int lane = LaneId();
  uint32_t ones[4];
  MakeTriangle(ones);
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const int channel = 32 * group + 16 * step;
    RunningSums<kForm>(sums[step], s.gate[group / 2], 2 * (group % 2) + step, s.bias + channel,
                       gate, rows, ones);
    if (lane >= 28) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        *reinterpret_cast<float2*>(&s.total[warp][channel + 8 * m + 2 * (lane - 28)]) =
            make_float2(sums[step][m][2], sums[step][m][3]);
      }
    }
  }
  Sync(1 + group, kWarpgroupThreads);
  const int d = 32 * group + lane;
  float base = 0.f, rest = 0.f;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    const float total = s.total[w][d];
    base += w < warp ? total : 0.f;
    rest += w > warp ? total : 0.f;
  }
  s.base[warp][d] = Exp2(base);
  s.rest[warp][d] = Exp2(rest);
  s.next[warp][d] = Exp2(s.total[warp][d]);
}

// A warp's two rows of a thread: within the chunk or not, and r of q and k.
struct RowPair {
  bool valid[2];
  float query_norm[2], key_norm[2];
};
template <int kKeyBlocks>
__device__ __forceinline__ RowPair RowPairOf(const GradShared<kKeyBlocks>& s, int rows) {
  RowPair pair;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = 16 * WarpOfGroup() + LaneId() / 4 + 8 * h;
    pair.valid[h] = row < rows;
    pair.query_norm[h] = s.norms[0][row];
    pair.key_norm[h] = s.norms[1][row];
  }
  return pair;
}

// q E, k E and k B of 16 channels. Rows beyond the chunk are zeros, since products sum over rows.
template <int kKeyBlocks>
__device__ __forceinline__ void StoreOperands(GradShared<kKeyBlocks>& s, const float (&sums)[2][4],
                                              int step, const RowPair& rows) {
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads, kb = group / 2;
  const int block = 2 * (group % 2) + step;
  uint32_t q[4], k[4], columns[4];
  LoadMatrices<false>(q, BlockRow<false>(s.q[kb], block));
  LoadMatrices<false>(k, BlockRow<false>(s.k[kb], block));
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const Anchors anchors = AnchorsOf(sums[m]);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      uint32_t &q_pair = q[2 * m + h], &k_pair = k[2 * m + h];
      q_pair = rows.valid[h] ? q_pair : 0u;
      k_pair = rows.valid[h] ? k_pair : 0u;
      const float l0 = sums[m][2 * h], l1 = sums[m][2 * h + 1], r = rows.key_norm[h];
      const float e0 = Exp2(l0), e1 = Exp2(l1);
      columns[2 * m + h] = Pack(UnpackLow(k_pair) * (r * Exp2(anchors.last[0] - l0)),
                                UnpackHigh(k_pair) * (r * Exp2(anchors.last[1] - l1)));
      q_pair = Pack(UnpackLow(q_pair) * (rows.query_norm[h] * e0),
                    UnpackHigh(q_pair) * (rows.query_norm[h] * e1));
      k_pair = Pack(UnpackLow(k_pair) * (r * e0), UnpackHigh(k_pair) * (r * e1));
    }
  }
  StoreMatrices<false>(BlockRow<false>(s.q_rows[kb], block), q);
  StoreMatrices<false>(BlockRow<false>(s.k_rows[kb], block), k);
  StoreMatrices<false>(BlockRow<false>(s.gate[kb], block), columns);
}

// From dO S, dv S and e dS+ (x1, x2, x3) to r dq, r dk and what the warp's own rows give dg, in 16
// channels.
template <int kKeyBlocks>
__device__ __forceinline__ void AddWithinChunk(GradShared<kKeyBlocks>& s, NarrowAccumulator& x1,
                                               NarrowAccumulator& x2, NarrowAccumulator& x3,
                                               const float (&sums)[2][4], int step,
                                               const RowPair& rows, float scale,
                                               float (&query_dot)[2], float (&key_dot)[2]) {
  constexpr int kKeyDim = GradConfig<kKeyBlocks>::kKeyDim;
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads, kb = group / 2;
  const int warp = WarpOfGroup(), lane = LaneId();
  const int block = 2 * (group % 2) + step, channel = 32 * group + 16 * step;
  float u[2][4];
  {
    // The same factor stands before what comes from S and from the rows of earlier blocks.
    Square from_p, from_m;
    RowProducts(from_p, from_m, s.dp, s.dm, s.gate[kb], block, s.next[0] + channel, kKeyDim);
    uint32_t q_rows[4], k_rows[4];
    LoadMatrices<false>(q_rows, BlockRow<false>(s.q_rows[kb], block));
    LoadMatrices<false>(k_rows, BlockRow<false>(s.k_rows[kb], block));
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const int part = 2 * step + m;
      const float2 base = PairOf(s.base[warp] + channel, m);
#pragma unroll
      for (int at = 0; at < 4; ++at) {
        const int h = at / 2, e = at % 2;
        const float factor = e == 0 ? base.x : base.y, decay = Exp2(sums[m][at]);
        const float dq = fmaf(scale * factor, x1.c[part][at], from_p.c[m][at]);
        const float dk = fmaf(-factor, x2.c[part][at], from_m.c[m][at]);
        u[m][at] = Element(q_rows[2 * m + h], e) * dq + Element(k_rows[2 * m + h], e) * dk;
        x1.c[part][at] = rows.query_norm[h] * decay * dq;
        x2.c[part][at] = rows.key_norm[h] * decay * dk;
      }
    }
  }
  {
    Square from_rows;
    ColumnProducts(from_rows, s.dp, s.dm, s.q_rows[kb], s.k_rows[kb], block, s.next[0] + channel,
                   kKeyDim);
    uint32_t columns[4];
    LoadMatrices<false>(columns, BlockRow<false>(s.gate[kb], block));
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const int part = 2 * step + m;
      const float2 rest = PairOf(s.rest[warp] + channel, m);
      float last[2], total[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        last[e] = __shfl_sync(0xffffffffu, sums[m][2 + e], 28 + lane % 4);
      }
#pragma unroll
      for (int at = 0; at < 4; ++at) {
        const int h = at / 2, e = at % 2;
        const float column = Element(columns[2 * m + h], e);
        const float from_d_state = (e == 0 ? rest.x : rest.y) * x3.c[part][at];
        u[m][at] = fmaf(-column, from_rows.c[m][at], u[m][at]);
        x2.c[part][at] = fmaf(rows.key_norm[h] * Exp2(last[e] - sums[m][at]),
                              from_d_state + from_rows.c[m][at], x2.c[part][at]);
        // What lies beyond the chunk is anybody's.
        u[m][at] = rows.valid[h] ? u[m][at] : 0.f;
        x3.c[part][at] = rows.valid[h] ? column * from_d_state : 0.f;
      }
#pragma unroll
      for (int e = 0; e < 2; ++e) total[e] = SumRowsBefore(x3.c[part][e], x3.c[part][2 + e]);
      if (lane < 4) {  // these channels have been read, by this warp alone
        *reinterpret_cast<float2*>(&s.rest[warp][channel + 8 * m + 2 * lane]) =
            make_float2(total[0], total[1]);
      }
    }
  }
  __syncwarp();
  uint32_t q_raw[4], k_raw[4];
  LoadMatrices<false>(q_raw, BlockRow<false>(s.q[kb], block));
  LoadMatrices<false>(k_raw, BlockRow<false>(s.k[kb], block));
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const int part = 2 * step + m;
    const Anchors anchors = AnchorsOf(sums[m]);
    const Pairs q =
        UnpackPairs(rows.valid[0] ? q_raw[2 * m] : 0u, rows.valid[1] ? q_raw[2 * m + 1] : 0u);
    const Pairs k =
        UnpackPairs(rows.valid[0] ? k_raw[2 * m] : 0u, rows.valid[1] ? k_raw[2 * m + 1] : 0u);
    const auto pairs = [](const float(&x)[4]) { return Pairs{{{x[0], x[1]}, {x[2], x[3]}}}; };
    Pairs dq = pairs(x1.c[part]), dk = pairs(x2.c[part]), rest = pairs(u[m]);
    AddDiagonal(dq, dk, rest, q, k, rows.query_norm, rows.key_norm, pairs(sums[m]), anchors, s.dp,
                s.dm);
    float total[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      total[e] = SumRowsBackward(rest.x[0][e], rest.x[1][e]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        query_dot[h] = fmaf(q.x[h][e], dq.x[h][e], query_dot[h]);
        key_dot[h] = fmaf(k.x[h][e], dk.x[h][e], key_dot[h]);
        x1.c[part][2 * h + e] = dq.x[h][e];
        x2.c[part][2 * h + e] = dk.x[h][e];
        x3.c[part][2 * h + e] += rest.x[h][e];
      }
    }
    if (lane < 4) {
      *reinterpret_cast<float2*>(&s.base[warp][channel + 8 * m + 2 * lane]) =
          make_float2(total[0], total[1]);
    }
  }
}

// From dg to the gate's gradient; x3 is what the warp's own rows give dg. `raw`: the gates, of the
// thread's first row and channels.
template <int kKeyBlocks, DeltaGate kForm>
__device__ __forceinline__ void StoreGates(GradShared<kKeyBlocks>& s, const NarrowAccumulator& x3,
                                           const uint32_t (&gate_raw)[2][4], const GateRate& gate,
                                           int rows, bool sums) {
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads, kb = group / 2;
  const int warp = WarpOfGroup(), lane = LaneId();
  {
    const int d = 32 * group + lane;
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
    const int channel = 32 * group + 16 * step;
    uint32_t packed[4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float2 dg_others = PairOf(s.next[warp] + channel, m);
      const float2 bias = PairOf(s.bias + channel, m);
      float bias_sum[2] = {0.f, 0.f};
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t raw = gate_raw[step][2 * m + h];
        const float* const dg = x3.c[2 * step + m] + 2 * h;
        const GateGradient g0 =
            LogDecayBackward<kForm>(dg[0] + dg_others.x, UnpackLow(raw) + bias.x, gate);
        const GateGradient g1 =
            LogDecayBackward<kForm>(dg[1] + dg_others.y, UnpackHigh(raw) + bias.y, gate);
        packed[2 * m + h] = Pack(g0.d_x, g1.d_x);
        if (16 * warp + lane / 4 + 8 * h < rows) {
          bias_sum[0] += g0.d_x;
          bias_sum[1] += g1.d_x;
          a_log_sum += g0.d_a_log + g1.d_a_log;
        }
      }
      if (sums) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
#pragma unroll
          for (int offset = 4; offset < kWarpSize; offset *= 2) {
            bias_sum[e] += __shfl_xor_sync(0xffffffffu, bias_sum[e], offset);
          }
        }
        if (lane < 4) {
          *reinterpret_cast<float2*>(&s.bias_sum[warp][channel + 8 * m + 2 * lane]) =
              make_float2(bias_sum[0], bias_sum[1]);
        }
      }
    }
    StoreMatrices<false>(BlockRow<false>(s.q_rows[kb], 2 * (group % 2) + step), packed);
  }
  a_log_sum = WarpSum(a_log_sum);
  if (lane == 0) s.a_log_sum[threadIdx.x / kWarpSize] = a_log_sum;
}

}  // namespace wyvern::sm90
