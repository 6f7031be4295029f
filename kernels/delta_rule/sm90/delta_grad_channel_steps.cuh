// GradChannels: the steps of a turn that know its decays. A warp has two times 16 channels, `step`
// 0 and 1.
#pragma once

#include "kernels/delta_rule/sm90/delta_grad_channel.cuh"

namespace wyvern::sm90 {

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
  Sync(1 + who.group, kWarpgroupThreads);
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
          // What lies beyond the chunk is anybody's.
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
      const uint32_t q_part[2] = {q[2 * m], q[2 * m + 1]}, k_part[2] = {k[2 * m], k[2 * m + 1]};
      AddDiagonal(x1.c[2 * step + m], x2.c[2 * step + m], u[m], q_part, k_part, query_norm,
                  key_norm, sums[step][m], AnchorsOf(sums[step][m], lane), pairings);
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
