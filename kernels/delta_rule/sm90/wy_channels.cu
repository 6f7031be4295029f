// The WY representation of every chunk and value head, with a decay per channel: row factors,
// operands, A (by the UT transform) and P. A warpgroup takes 64 channels, its warps 16 rows each,
// in the layout of left operands; the decays are split as channel_decay.cuh says. With two
// warpgroups, the first adds up M and inverts, the second adds up P. Per token and value head it
// reads 6 K bytes and writes 6 K + 256.
#include "kernels/delta_rule/sm90/wy_channels.cuh"

namespace wyvern::sm90 {
namespace {

template <int kGroups, DeltaGate kForm>
__global__ void __launch_bounds__(kGroups* kWarpgroupThreads, 4 / kGroups)
    WyChannelsKernel(Args a, GatedDeltaRuleInputs<Bf16> in, const __grid_constant__ TensorMap q_map,
                     const __grid_constant__ TensorMap k_map,
                     const __grid_constant__ TensorMap gate_map,
                     const __grid_constant__ TensorMap p_map,
                     const __grid_constant__ TensorMap a_map) {
  constexpr int kKeyDim = 64 * kGroups;
  extern __shared__ __align__(1024) unsigned char shared[];
  WyShared<kGroups>& s = *reinterpret_cast<WyShared<kGroups>*>(shared);
  const int tid = static_cast<int>(threadIdx.x), warp = WarpOfGroup(), lane = LaneId();
  const int group = tid / kWarpgroupThreads, row0 = 16 * warp + lane / 4;
  const int64_t chunk_head = blockIdx.x;
  const int hv = static_cast<int>(blockIdx.x % a.value_heads);
  const Chunk chunk = a.chunks[blockIdx.x / a.value_heads];
  if (tid == 0) {
    Init(s.loaded, 1);
    FenceBarrierInit();
    ArriveExpecting(s.loaded, 3 * kGroups * kTileBytes);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      CopyTokens(s.gate[g], gate_map, g * kTile, hv, chunk.first, s.loaded);
      CopyTokens(s.k[g], k_map, g * kTile, hv / a.group, chunk.first, s.loaded);
      CopyTokens(s.q[g], q_map, g * kTile, hv / a.group, chunk.first, s.loaded);
    }
  }
  if (tid < kKeyDim) {
    s.bias[tid] = in.dt_bias == nullptr ? 0.f : in.dt_bias[hv * kKeyDim + tid];
  }
  if (tid < kChunk) {
    float beta = 0.f;
    if (tid < chunk.rows) {
      beta = delta::BetaOf(in.beta_form, in.beta,
                           (static_cast<int64_t>(chunk.first) + tid) * a.value_heads + hv);
      beta = copysignf(fmaxf(fabsf(beta), kMinBetaSm90), beta);
    }
    s.beta[tid] = beta;
  }
  const GateRate gate = GateRateOf(in, hv);
  uint32_t ones[4];
  MakeTriangle<false>(ones, lane);
  __syncthreads();
  Wait(s.loaded, 0);

  float sums[kWySteps][2][4];
#pragma unroll
  for (int step = 0; step < kWySteps; ++step) {
    const int channel = 64 * group + 16 * step;
    RunningSums<kForm>(sums[step], BlockAt(s.gate[group], LaneElement(lane), warp, step),
                       s.bias + channel, gate, chunk.rows - 16 * warp, ones, lane);
    StoreTotals(s.total[warp] + channel, sums[step]);
  }
  StoreSquares(s.squares[0][group], s.q[group]);
  StoreSquares(s.squares[1][group], s.k[group]);
  __syncthreads();
  float query_norm[2], key_norm[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    query_norm[h] = NormOf(s.squares[0], row0 + 8 * h, in);
    key_norm[h] = NormOf(s.squares[1], row0 + 8 * h, in);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int d = 64 * group + kWarpSize * i + lane;
    float base = 0.f, rest = 0.f;
#pragma unroll
    for (int w = 0; w < kWyWarps; ++w) {
      const float total = s.total[w][d];
      base += w < warp ? total : 0.f;
      rest += w > warp ? total : 0.f;
    }
    s.base[warp][d] = Exp2(base);
    s.rest[warp][d] = Exp2(rest);
    if (warp >= 2) s.skip_one[warp][d] = Exp2(s.total[warp - 1][d]);
    if (warp == 3) {
      s.skip_two[d] = Exp2(s.total[1][d] + s.total[2][d]);
      a.chunk_decay[chunk_head * kKeyDim + d] = Exp2(base + s.total[3][d]);
    }
  }
  __syncwarp();

  const int64_t ld = static_cast<int64_t>(a.value_heads) * kKeyDim;
  const int64_t out = chunk.first * ld + hv * kKeyDim + 64 * group;
  {
    float m[2][4] = {}, p[2][4] = {};
    TakeColumns(s, sums, query_norm, key_norm, group, m, p);
    StoreRows(a.k_bar + out, ld, s.gate[group], chunk.rows);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      StorePart(s.gate[group], 0, n, m[n]);
      StorePart(s.gate[group], 1, n, p[n]);
    }
  }
  Sync(kWyGroup + group, kWarpgroupThreads);
  float m_left[3][2][4] = {}, p_left[3][2][4] = {};
#pragma unroll
  for (int step = 0; step < kWySteps; ++step) {
    float decay[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) decay[i][e] = Exp2(sums[step][i / 2][2 * (i % 2) + e]);
    }
    TakeRows(s, s.q[group], decay, query_norm, group, step, p_left);
    TakeRows(s, s.k[group], decay, key_norm, group, step, m_left);
  }
  StoreRows(a.q_operand + out, ld, s.q[group], chunk.rows);
  StoreRows(a.k_operand + out, ld, s.k[group], chunk.rows);
  if constexpr (kGroups == 2) {
    // Each group leaves for the other what it does not add up itself.
#pragma unroll
    for (int d = 0; d < 3; ++d) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        Bf16* const tile = d < 2 ? s.q[group] : s.k[group];
        if (group == 0) {
          StorePart(tile, d % 2, n, p_left[d][n]);
        } else {
          StorePart(tile, d % 2, n, m_left[d][n]);
        }
      }
    }
  }
  __syncthreads();

  // By selection: what lies above the diagonal may be infinite, what lies beyond the chunk
  // anything.
  const bool valid[2] = {row0 < chunk.rows, row0 + 8 < chunk.rows};
  const auto gather = [&](float(&x)[4], const float(&left)[3][2][4], int block, int n, int which) {
  // Block `block` of the warp's rows, of M (which = 0) or P (1).
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      x[e] = 0.f;
#pragma unroll
      for (int distance = 1; distance < kWyWarps - block; ++distance) {
        if (warp == block + distance) x[e] = left[distance - 1][n][e];
      }
    }
    if (block == warp) {
#pragma unroll
      for (int g = 0; g < kGroups; ++g) AddPart(x, s.gate[g], which, n);
    } else if (kGroups == 2 && block < warp) {
      const int d = warp - block - 1;
      AddPart(x, d < 2 ? s.q[which ^ 1] : s.k[which ^ 1], d % 2, n);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = row0 + 8 * (e / 2), column = 16 * block + 8 * n + 2 * (lane % 4) + e % 2;
      x[e] = valid[e / 2] && column < row + which ? x[e] : 0.f;
    }
  };
  if (group == kGroups - 1) {
    uint32_t packed[kWyWarps][4];
#pragma unroll
    for (int block = 0; block < kWyWarps; ++block) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float p[4];
        gather(p, p_left, block, n, 1);
        packed[block][2 * n] = Pack(a.scale * p[0], a.scale * p[1]);
        packed[block][2 * n + 1] = Pack(a.scale * p[2], a.scale * p[3]);
      }
    }
    __syncwarp();  // the parts that lay where P goes have been read
#pragma unroll
    for (int block = 0; block < kWyWarps; ++block) {
      StoreMatrices<false>(BlockAt(s.q[0], LaneElement(lane), warp, block), packed[block]);
    }
  }
  if (group == 0) {
    Accumulator m;
#pragma unroll
    for (int block = 0; block < kWyWarps; ++block) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        gather(m.c[2 * block + n], m_left, block, n, 0);
#pragma unroll
        for (int e = 0; e < 4; ++e) m.c[2 * block + n][e] *= s.beta[row0 + 8 * (e / 2)];
      }
    }
    UtTransform(m, chunk.rows, s.columns[0], kGroups == 2 ? s.columns[kGroups - 1] : s.k[0],
                s.scratch);
  }
  FenceSharedWrites();
  Sync(kWyGroup + group, kWarpgroupThreads);
  if (tid % kWarpgroupThreads == 0) {
    const int row = static_cast<int>(chunk_head) * kTile;
    if (group == kGroups - 1) StoreMatrix(p_map, 0, row, s.q[0]);
    if (group == 0) StoreMatrix(a_map, 0, row, s.columns[0]);
    CommitStores();
  }
  if (tid < kChunk) {
    float* const rows = a.rows + chunk_head * kNumRowFactors * kChunk + tid;
    const bool present = tid < chunk.rows;
    rows[kQueryFactor * kChunk] = present ? a.scale : 0.f;
    rows[kKeyFactor * kChunk] = present ? 1.f : 0.f;
    rows[kBarFactor * kChunk] = present ? 1.f : 0.f;
    rows[kBeta * kChunk] = s.beta[tid];
    rows[kQueryNorm * kChunk] = present ? NormOf(s.squares[0], tid, in) : 0.f;
    rows[kKeyNorm * kChunk] = present ? NormOf(s.squares[1], tid, in) : 0.f;
#pragma unroll
    for (int factor = kGate; factor < kNumRowFactors; ++factor) rows[factor * kChunk] = 0.f;
  }
  if (tid % kWarpgroupThreads == 0) WaitStores<0>();
}

template <int kGroups, DeltaGate kForm>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  const auto kernel = WyChannelsKernel<kGroups, kForm>;
  constexpr size_t kBytes = sizeof(WyShared<kGroups>);
  delta::AllowSharedMemory(kernel, kBytes);
  const int64_t token_stride = static_cast<int64_t>(a.heads) * a.key_dim;
  const TensorMap q_map = MakeTokenMap(in.q, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap k_map = MakeTokenMap(in.k, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap gate_map = MakeTokenMap(in.gate, a.num_tokens, a.value_heads, a.key_dim,
                                          static_cast<int64_t>(a.value_heads) * a.key_dim);
  const TensorMap p_map = MakeMatrixMap(a.p, a.chunk_heads() * kChunk, kChunk);
  const TensorMap a_map = MakeMatrixMap(a.ut, a.chunk_heads() * kChunk, kChunk);
  kernel<<<static_cast<unsigned>(a.chunk_heads()), kGroups * kWarpgroupThreads, kBytes, stream>>>(
      a, in, q_map, k_map, gate_map, p_map, a_map);
  CUDA_CHECK_LAUNCH();
}

template <int kGroups>
void LaunchForm(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  switch (in.gate_form) {
    case DeltaGate::kLogDecay:
      return Launch<kGroups, DeltaGate::kLogDecay>(a, in, stream);
    case DeltaGate::kSoftplus:
      return Launch<kGroups, DeltaGate::kSoftplus>(a, in, stream);
    case DeltaGate::kBounded:
      return Launch<kGroups, DeltaGate::kBounded>(a, in, stream);
  }
}

}  // namespace

void WyChannels(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  if (a.key_blocks() == 1) return LaunchForm<1>(a, in, stream);
  LaunchForm<2>(a, in, stream);
}

}  // namespace wyvern::sm90
