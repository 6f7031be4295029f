// What a chunk knows without the state, with a decay per channel: row factors, operands, A and P of
// every chunk and value head. A warpgroup takes 64 channels, its warps 16 rows each, in the layout
// of left operands; the decays are split as channel_decay.cuh says. With two warpgroups, the first
// adds up M and inverts, the second adds up P. Per token and value head it reads 6 K bytes and
// writes 6 K + 256.
#include "kernels/cuda/sm90/async.cuh"
#include "kernels/cuda/sm90/channel_decay.cuh"
#include "kernels/cuda/sm90/inverse.cuh"

namespace wyvern::sm90 {
namespace {

constexpr int kWarps = 4;  // of a group
constexpr int kSteps = 4;  // of 16 channels
constexpr int kBlock = 16 * kTile;

template <int kGroups>
struct Shared {
  // By group. Each first as loaded, then the operand that takes its place (e^G q, e^G k, kbar),
  // then parts of M and P; in the end q[0] is P.
  Bf16 q[kGroups][kTileElements], k[kGroups][kTileElements], gate[kGroups][kTileElements];
  Bf16 columns[kGroups][kTileElements];  // k B
  // Factors of each channel. A warp's: e^base, e^(what follows its rows), the next block up but
  // one. Then the inverse's scratch.
  float base[kWarps][64 * kGroups], rest[kWarps][64 * kGroups];
  float skip_one[kWarps][64 * kGroups], skip_two[64 * kGroups];
  float total[kWarps][64 * kGroups];  // L of the warp's last row
  float bias[64 * kGroups];
  float squares[2][kGroups][kChunk];  // of the rows of q and k
  float beta[kChunk];
  alignas(16) float scratch[kInverseScratchBytes / 4];
  Barrier loaded;
};

// The warp's rows and 64 channels of `tile` to [T, HV, K].
__device__ __forceinline__ void StoreRows(Bf16* to, int64_t ld, const Bf16* tile, int rows) {
  __syncwarp();
  const int piece = LaneId() % 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = 16 * WarpOfGroup() + 4 * i + LaneId() / 8;
    if (row < rows) {
      *reinterpret_cast<uint4*>(to + row * ld + 8 * piece) =
          *reinterpret_cast<const uint4*>(TileRow(const_cast<Bf16*>(tile), row, piece));
    }
  }
  __syncwarp();
}

// Two 16 x 16 blocks as accumulators, in the 2 KB of the warp's rows of a tile.
__device__ __forceinline__ float4* PartsAt(Bf16* tile, int block, int n) {
  return reinterpret_cast<float4*>(tile + WarpOfGroup() * kBlock) + (2 * block + n) * kWarpSize +
         LaneId();
}
__device__ __forceinline__ void StorePart(Bf16* tile, int block, int n, const float (&x)[4]) {
  *PartsAt(tile, block, n) = make_float4(x[0], x[1], x[2], x[3]);
}
__device__ __forceinline__ void AddPart(float (&x)[4], Bf16* tile, int block, int n) {
  const float4 part = *PartsAt(tile, block, n);
  x[0] += part.x;
  x[1] += part.y;
  x[2] += part.z;
  x[3] += part.w;
}

// Rows of x times r, as floats in the order of a left operand.
__device__ __forceinline__ void Unpack(float (&x)[4][2], const uint32_t (&raw)[4],
                                       const float (&r)[2]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i][0] = UnpackLow(raw[i]) * r[i % 2];
    x[i][1] = UnpackHigh(raw[i]) * r[i % 2];
  }
}

// The sum of squares of the warp's rows over a tile's channels.
__device__ __forceinline__ void StoreSquares(float (&squares)[kChunk], const Bf16* tile) {
  float sum[2] = {0.f, 0.f};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint32_t x[4];
    LoadMatrices<false>(x, BlockRow<false>(const_cast<Bf16*>(tile), step));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float low = UnpackLow(x[i]), high = UnpackHigh(x[i]);
      sum[i % 2] = fmaf(low, low, fmaf(high, high, sum[i % 2]));
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    if (LaneId() % 4 == 0) squares[16 * WarpOfGroup() + LaneId() / 4 + 8 * h] = sum[h];
  }
}
template <int kGroups>
__device__ __forceinline__ float NormOf(const float (&squares)[kGroups][kChunk], int row,
                                        bool l2_norm) {
  float sum = 0.f;
#pragma unroll
  for (int g = 0; g < kGroups; ++g) sum += squares[g][row];
  return l2_norm ? rsqrtf(sum + delta::kNormEps) : 1.f;
}

// The block on the diagonal, and the columns of later blocks and of the next state.
template <int kGroups>
__device__ __forceinline__ void TakeColumns(Shared<kGroups>& s, const float (&sums)[kSteps][2][4],
                                            const float (&query_norm)[2],
                                            const float (&key_norm)[2], int group,
                                            bool operands_only, float (&m)[2][4],
                                            float (&p)[2][4]) {
  const int warp = WarpOfGroup(), lane = LaneId();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int element = (LaneElement(lane) ^ step << 4) + warp * kBlock;
    uint32_t raw[4], columns[4], bar[4], own[4], k_rows[2][4] = {}, q_rows[2][4] = {};
    float q[4][2], k[4][2];
    LoadMatrices<false>(raw, s.k[group] + element);
    Unpack(k, raw, key_norm);
    LoadMatrices<false>(raw, s.q[group] + element);
    Unpack(q, raw, query_norm);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const Anchors anchors = AnchorsOf(sums[step][n], lane);
      const float2 rest = *reinterpret_cast<const float2*>(
          &s.rest[warp][64 * group + 16 * step + 8 * n + 2 * (lane % 4)]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = 2 * n + h;
        const float l0 = sums[step][n][2 * h], l1 = sums[step][n][2 * h + 1];
        const float b0 = k[i][0] * Exp2(anchors.last[0] - l0);
        const float b1 = k[i][1] * Exp2(anchors.last[1] - l1);
        columns[i] = Pack(b0, b1);
        bar[i] = Pack(b0 * rest.x, b1 * rest.y);
        if (!operands_only) {
          const float a0 = h == 0 ? anchors.first[0] : anchors.second[0];
          const float a1 = h == 0 ? anchors.first[1] : anchors.second[1];
          own[i] = Pack(k[i][0] * Exp2(a0 - l0), k[i][1] * Exp2(a1 - l1));
          float r0 = Exp2(l0 - anchors.first[0]), r1 = Exp2(l1 - anchors.first[1]);
          k_rows[0][i] = Pack(k[i][0] * r0, k[i][1] * r1);
          q_rows[0][i] = Pack(q[i][0] * r0, q[i][1] * r1);
          if (h == 1) {
            r0 = Exp2(l0 - a0);
            r1 = Exp2(l1 - a1);
            k_rows[1][i] = Pack(k[i][0] * r0, k[i][1] * r1);
            q_rows[1][i] = Pack(q[i][0] * r0, q[i][1] * r1);
          }
        }
      }
    }
    StoreMatrices<false>(s.gate[group] + element, bar);
    if (operands_only) continue;
    StoreMatrices<false>(s.columns[group] + element, columns);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      MmaBf16(m[n], k_rows[n], own[n], own[2 + n]);
      MmaBf16(p[n], q_rows[n], own[n], own[2 + n]);
    }
  }
}

// The rows of q or k (`tile`) against the columns of blocks `distance` to the left of the diagonal,
// left[distance - 1]. The tile then holds the operand.
template <int kGroups>
__device__ __forceinline__ void TakeRows(Shared<kGroups>& s, Bf16* tile, const float (&decay)[4][2],
                                         const float (&norm)[2], int group, int step,
                                         bool operands_only, float (&left)[3][2][4]) {
  const int warp = WarpOfGroup(), lane = LaneId();
  const int element = LaneElement(lane) ^ step << 4;
  const int channel = 64 * group + 16 * step + 2 * (lane % 4);
  uint32_t packed[4];
  LoadMatrices<false>(packed, tile + element + warp * kBlock);
  float x[4][2];
  Unpack(x, packed, norm);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i][0] *= decay[i][0];
    x[i][1] *= decay[i][1];
  }
  const auto scaled = [&](const float* factor) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 f = *reinterpret_cast<const float2*>(factor + channel + 8 * n);
#pragma unroll
      for (int i = 2 * n; i < 2 * n + 2; ++i) packed[i] = Pack(x[i][0] * f.x, x[i][1] * f.y);
    }
  };
  scaled(s.base[warp]);
  StoreMatrices<false>(tile + element + warp * kBlock, packed);
  if (operands_only) return;
#pragma unroll
  for (int distance = 1; distance < kWarps; ++distance) {
    if (distance > warp) continue;
    if (distance == 1) {
#pragma unroll
      for (int i = 0; i < 4; ++i) packed[i] = Pack(x[i][0], x[i][1]);
    } else {
      scaled(distance == 2 ? s.skip_one[warp] : s.skip_two);
    }
    uint32_t columns[4];
    LoadMatrices<false>(columns, s.columns[group] + element + (warp - distance) * kBlock);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      MmaBf16(left[distance - 1][n], packed, columns[n], columns[2 + n]);
    }
  }
}

template <int kGroups, DeltaGate kForm>
__global__ void __launch_bounds__(kGroups* kWarpgroupThreads, 4 / kGroups)
    PrepareKernel(Args a, GatedDeltaRuleInputs<Bf16> in, bool operands_only,
                  const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
                  const __grid_constant__ TensorMap gate_map,
                  const __grid_constant__ TensorMap p_map,
                  const __grid_constant__ TensorMap a_map) {
  constexpr int kKeyDim = 64 * kGroups;
  extern __shared__ __align__(1024) unsigned char shared[];
  Shared<kGroups>& s = *reinterpret_cast<Shared<kGroups>*>(shared);
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
      beta = copysignf(fmaxf(fabsf(beta), kMinBeta), beta);
    }
    s.beta[tid] = beta;
  }
  const GateRate gate = GateRateOf(in, hv);
  uint32_t ones[4];
  MakeTriangle<false>(ones, lane);
  __syncthreads();
  Wait(s.loaded, 0);

  float sums[kSteps][2][4];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int channel = 64 * group + 16 * step;
    RunningSums<kForm>(sums[step], BlockAt(s.gate[group], LaneElement(lane), warp, step),
                       s.bias + channel, gate, chunk.rows - 16 * warp, ones, lane);
    if (lane >= 28) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        *reinterpret_cast<float2*>(&s.total[warp][channel + 8 * n + 2 * (lane - 28)]) =
            make_float2(sums[step][n][2], sums[step][n][3]);
      }
    }
  }
  StoreSquares(s.squares[0][group], s.q[group]);
  StoreSquares(s.squares[1][group], s.k[group]);
  __syncthreads();
  float query_norm[2], key_norm[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    query_norm[h] = NormOf(s.squares[0], row0 + 8 * h, in.l2_norm);
    key_norm[h] = NormOf(s.squares[1], row0 + 8 * h, in.l2_norm);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int d = 64 * group + kWarpSize * i + lane;
    float base = 0.f, rest = 0.f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float total = s.total[w][d];
      base += w < warp ? total : 0.f;
      rest += w > warp ? total : 0.f;
    }
    s.base[warp][d] = Exp2(base);
    s.rest[warp][d] = Exp2(rest);
    if (warp >= 2) s.skip_one[warp][d] = Exp2(s.total[warp - 1][d]);
    if (warp == 3) {
      s.skip_two[d] = Exp2(s.total[1][d] + s.total[2][d]);
      if (!operands_only) a.chunk_decay[chunk_head * kKeyDim + d] = Exp2(base + s.total[3][d]);
    }
  }
  __syncwarp();

  const int64_t ld = static_cast<int64_t>(a.value_heads) * kKeyDim;
  const int64_t out = chunk.first * ld + hv * kKeyDim + 64 * group;
  {
    float m[2][4] = {}, p[2][4] = {};
    TakeColumns(s, sums, query_norm, key_norm, group, operands_only, m, p);
    StoreRows(a.k_bar + out, ld, s.gate[group], chunk.rows);
    if (!operands_only) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        StorePart(s.gate[group], 0, n, m[n]);
        StorePart(s.gate[group], 1, n, p[n]);
      }
    }
  }
  Sync(4 + group, kWarpgroupThreads);
  float m_left[3][2][4] = {}, p_left[3][2][4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    float decay[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) decay[i][e] = Exp2(sums[step][i / 2][2 * (i % 2) + e]);
    }
    TakeRows(s, s.q[group], decay, query_norm, group, step, operands_only, p_left);
    TakeRows(s, s.k[group], decay, key_norm, group, step, operands_only, m_left);
  }
  StoreRows(a.q_operand + out, ld, s.q[group], chunk.rows);
  StoreRows(a.k_operand + out, ld, s.k[group], chunk.rows);
  if (operands_only) return;
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
      for (int distance = 1; distance < kWarps - block; ++distance) {
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
    uint32_t packed[kWarps][4];
#pragma unroll
    for (int block = 0; block < kWarps; ++block) {
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
    for (int block = 0; block < kWarps; ++block) {
      StoreMatrices<false>(BlockAt(s.q[0], LaneElement(lane), warp, block), packed[block]);
    }
  }
  if (group == 0) {
    Accumulator m;
#pragma unroll
    for (int block = 0; block < kWarps; ++block) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        gather(m.c[2 * block + n], m_left, block, n, 0);
#pragma unroll
        for (int e = 0; e < 4; ++e) m.c[2 * block + n][e] *= s.beta[row0 + 8 * (e / 2)];
      }
    }
    InvertUnitLower(m, chunk.rows, s.columns[0], kGroups == 2 ? s.columns[kGroups - 1] : s.k[0],
                    s.scratch);
  }
  FenceSharedWrites();
  Sync(4 + group, kWarpgroupThreads);
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
    rows[kQueryNorm * kChunk] = present ? NormOf(s.squares[0], tid, in.l2_norm) : 0.f;
    rows[kKeyNorm * kChunk] = present ? NormOf(s.squares[1], tid, in.l2_norm) : 0.f;
    rows[kGate * kChunk] = 0.f;
    rows[(kNumRowFactors - 1) * kChunk] = 0.f;
  }
  if (tid % kWarpgroupThreads == 0) WaitStores<0>();
}

template <int kGroups, DeltaGate kForm>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, bool operands_only,
            cudaStream_t stream) {
  const auto kernel = PrepareKernel<kGroups, kForm>;
  constexpr size_t kBytes = sizeof(Shared<kGroups>);
  delta::AllowSharedMemory(kernel, kBytes);
  const int64_t token_stride = static_cast<int64_t>(a.heads) * a.key_dim;
  const TensorMap q_map = MakeTokenMap(in.q, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap k_map = MakeTokenMap(in.k, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap gate_map = MakeTokenMap(in.gate, a.num_tokens, a.value_heads, a.key_dim,
                                          static_cast<int64_t>(a.value_heads) * a.key_dim);
  const TensorMap p_map = MakeMatrixMap(a.p, a.chunk_heads() * kChunk, kChunk);
  const TensorMap a_map = MakeMatrixMap(a.a_inv, a.chunk_heads() * kChunk, kChunk);
  kernel<<<static_cast<unsigned>(a.chunk_heads()), kGroups * kWarpgroupThreads, kBytes, stream>>>(
      a, in, operands_only, q_map, k_map, gate_map, p_map, a_map);
  CUDA_CHECK_LAUNCH();
}

template <int kGroups>
void LaunchForm(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, bool operands_only,
                cudaStream_t stream) {
  switch (in.gate_form) {
    case DeltaGate::kLogDecay:
      return Launch<kGroups, DeltaGate::kLogDecay>(a, in, operands_only, stream);
    case DeltaGate::kSoftplus:
      return Launch<kGroups, DeltaGate::kSoftplus>(a, in, operands_only, stream);
    case DeltaGate::kBounded:
      return Launch<kGroups, DeltaGate::kBounded>(a, in, operands_only, stream);
  }
}

}  // namespace

void PrepareChannels(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, bool operands_only,
                     cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  if (a.key_blocks() == 1) return LaunchForm<1>(a, in, operands_only, stream);
  LaunchForm<2>(a, in, operands_only, stream);
}

}  // namespace wyvern::sm90
