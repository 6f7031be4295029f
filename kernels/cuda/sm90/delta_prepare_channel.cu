// What a chunk knows without the state, with a decay per channel: row factors, operands, A and P of
// every chunk and value head, one warpgroup each. A warp takes 16 rows and all channels, in the
// layout of left operands; the decays are split as channel_decay.cuh says. Per token and value head
// it reads 6 K bytes and writes 6 K + 256.
#include "kernels/cuda/sm90/async.cuh"
#include "kernels/cuda/sm90/channel_decay.cuh"
#include "kernels/cuda/sm90/inverse.cuh"

namespace wyvern::sm90 {
namespace {

constexpr int kThreads = kWarpgroupThreads;
constexpr int kWarps = 4;

template <int kKeyBlocks>
struct Shared {
  // Each first as loaded, then the operand that takes its place: e^G q, e^G k, kbar. In the end the
  // first tile of each: P, A, A's low terms.
  Bf16 q[kKeyBlocks][kTileElements], k[kKeyBlocks][kTileElements], gate[kKeyBlocks][kTileElements];
  Bf16 columns[kKeyBlocks][kTileElements];  // k B; then the inverse's scratch
  // Factors of each channel. A warp's: e^base, e^(what follows its rows), the next block up but
  // one.
  float base[kWarps][64 * kKeyBlocks], rest[kWarps][64 * kKeyBlocks];
  float skip_one[kWarps][64 * kKeyBlocks], skip_two[64 * kKeyBlocks];
  float total[kWarps][64 * kKeyBlocks];  // L of the warp's last row
  float bias[64 * kKeyBlocks];
  float beta[kChunk], query_norm[kChunk], key_norm[kChunk];
  Barrier loaded;
};
static_assert(kInverseScratchBytes <= kTileBytes);

// The warp's rows of `tiles` to [T, HV, K].
template <int kKeyBlocks>
__device__ __forceinline__ void StoreRows(const Args& a, Bf16* to, const Bf16* tiles,
                                          const Chunk& chunk, int hv) {
  constexpr int kPieces = 8 * kKeyBlocks, kRows = kWarpSize / kPieces;
  const int piece = LaneId() % kPieces;
#pragma unroll
  for (int i = 0; i < 16 / kRows; ++i) {
    const int row = 16 * WarpOfGroup() + i * kRows + LaneId() / kPieces;
    if (row < chunk.rows) {
      const int64_t token_head = (static_cast<int64_t>(chunk.first) + row) * a.value_heads + hv;
      *reinterpret_cast<uint4*>(to + token_head * (64 * kKeyBlocks) + 8 * piece) =
          *reinterpret_cast<const uint4*>(
              TileRow(const_cast<Bf16*>(tiles) + piece / 8 * kTileElements, row, piece % 8));
    }
  }
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

template <int kKeyBlocks, DeltaGate kForm>
__global__ void __launch_bounds__(kThreads, 3)
    PrepareKernel(Args a, GatedDeltaRuleInputs<Bf16> in, bool operands_only,
                  const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
                  const __grid_constant__ TensorMap gate_map,
                  const __grid_constant__ TensorMap p_map,
                  const __grid_constant__ TensorMap a_map) {
  constexpr int kKeyDim = 64 * kKeyBlocks, kSteps = kKeyDim / 16;
  extern __shared__ __align__(1024) unsigned char shared[];
  Shared<kKeyBlocks>& s = *reinterpret_cast<Shared<kKeyBlocks>*>(shared);
  const int tid = static_cast<int>(threadIdx.x), warp = WarpOfGroup(), lane = LaneId();
  const int64_t chunk_head = blockIdx.x;
  const int hv = static_cast<int>(blockIdx.x % a.value_heads);
  const Chunk chunk = a.chunks[blockIdx.x / a.value_heads];
  if (tid == 0) {
    Init(s.loaded, 1);
    FenceBarrierInit();
    ArriveExpecting(s.loaded, 3 * kKeyBlocks * kTileBytes);
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      CopyTokens(s.gate[kb], gate_map, kb * kTile, hv, chunk.first, s.loaded);
      CopyTokens(s.k[kb], k_map, kb * kTile, hv / a.group, chunk.first, s.loaded);
      CopyTokens(s.q[kb], q_map, kb * kTile, hv / a.group, chunk.first, s.loaded);
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
  MakeTriangle(ones);
  __syncthreads();
  Wait(s.loaded, 0);

  float sums[kSteps][2][4];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    RunningSums<kForm>(sums[step], s.gate[step / 4], step % 4, s.bias + 16 * step, gate, chunk.rows,
                       ones);
    if (lane >= 28) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        *reinterpret_cast<float2*>(&s.total[warp][16 * step + 8 * n + 2 * (lane - 28)]) =
            make_float2(sums[step][n][2], sums[step][n][3]);
      }
    }
  }
  float query_norm[2], key_norm[2];
  RowNorms<kKeyBlocks>(query_norm, s.q[0], in.l2_norm);
  RowNorms<kKeyBlocks>(key_norm, s.k[0], in.l2_norm);
  if (lane % 4 == 0) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * warp + lane / 4 + 8 * half;
      s.query_norm[row] = query_norm[half];
      s.key_norm[row] = key_norm[half];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kKeyDim / kWarpSize; ++i) {
    const int d = lane + kWarpSize * i;
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

  // Columns, and the block on the diagonal.
  float m_diagonal[2][4] = {}, p_diagonal[2][4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint32_t raw[4];
    float q[4][2], k[4][2];
    LoadMatrices<false>(raw, BlockRow<false>(s.k[step / 4], step % 4));
    Unpack(k, raw, key_norm);
    LoadMatrices<false>(raw, BlockRow<false>(s.q[step / 4], step % 4));
    Unpack(q, raw, query_norm);
    uint32_t columns[4], bar[4], own[4], k_rows[2][4] = {}, q_rows[2][4] = {};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const Anchors anchors = AnchorsOf(sums[step][n]);
      const float2 rest =
          *reinterpret_cast<const float2*>(&s.rest[warp][16 * step + 8 * n + 2 * (lane % 4)]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = 2 * n + half;
        const float l0 = sums[step][n][2 * half], l1 = sums[step][n][2 * half + 1];
        const float b0 = k[i][0] * Exp2(anchors.last[0] - l0);
        const float b1 = k[i][1] * Exp2(anchors.last[1] - l1);
        columns[i] = Pack(b0, b1);
        bar[i] = Pack(b0 * rest.x, b1 * rest.y);
        if (!operands_only) {
          const float a0 = half == 0 ? anchors.first[0] : anchors.second[0];
          const float a1 = half == 0 ? anchors.first[1] : anchors.second[1];
          own[i] = Pack(k[i][0] * Exp2(a0 - l0), k[i][1] * Exp2(a1 - l1));
          float r0 = Exp2(l0 - anchors.first[0]), r1 = Exp2(l1 - anchors.first[1]);
          k_rows[0][i] = Pack(k[i][0] * r0, k[i][1] * r1);
          q_rows[0][i] = Pack(q[i][0] * r0, q[i][1] * r1);
          if (half == 1) {
            r0 = Exp2(l0 - a0);
            r1 = Exp2(l1 - a1);
            k_rows[1][i] = Pack(k[i][0] * r0, k[i][1] * r1);
            q_rows[1][i] = Pack(q[i][0] * r0, q[i][1] * r1);
          }
        }
      }
    }
    StoreMatrices<false>(BlockRow<false>(s.gate[step / 4], step % 4), bar);
    if (!operands_only) {
      StoreMatrices<false>(BlockRow<false>(s.columns[step / 4], step % 4), columns);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        MmaBf16(m_diagonal[n], k_rows[n], own[n], own[2 + n]);
        MmaBf16(p_diagonal[n], q_rows[n], own[n], own[2 + n]);
      }
    }
  }
  // By selection: what lies above the diagonal may be infinite, what lies beyond the chunk
  // anything.
  uint32_t p_packed[4];
  bool valid[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    valid[half] = 16 * warp + lane / 4 + 8 * half < chunk.rows;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      float p[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = lane / 4 + 8 * half, column = 8 * n + 2 * (lane % 4) + e;
        float& m_ij = m_diagonal[n][2 * half + e];
        m_ij = valid[half] && row > column ? m_ij : 0.f;
        p[e] = valid[half] && row >= column ? a.scale * p_diagonal[n][2 * half + e] : 0.f;
      }
      p_packed[2 * n + half] = Pack(p[0], p[1]);
    }
  }
  __syncthreads();
  StoreRows<kKeyBlocks>(a, a.k_bar, s.gate[0], chunk, hv);

  // Rows, and the blocks left of the diagonal: `distance` to its left.
  float m_left[3][2][4] = {}, p_left[3][2][4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int channel = 16 * step + 2 * (lane % 4);
    float decay[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) decay[i][e] = Exp2(sums[step][i / 2][2 * (i % 2) + e]);
    }
    const auto rows_of = [&](Bf16* tile, const float(&norm)[2], float(&left)[3][2][4]) {
      uint32_t packed[4];
      LoadMatrices<false>(packed, BlockRow<false>(tile, step % 4));
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
      StoreMatrices<false>(BlockRow<false>(tile, step % 4), packed);
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
        LoadMatrices<false>(columns, SquareRow(s.columns[step / 4], warp - distance, step % 4));
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          MmaBf16(left[distance - 1][n], packed, columns[n], columns[2 + n]);
        }
      }
    };
    rows_of(s.q[step / 4], query_norm, p_left);
    rows_of(s.k[step / 4], key_norm, m_left);
  }
  __syncwarp();
  StoreRows<kKeyBlocks>(a, a.q_operand, s.q[0], chunk, hv);
  StoreRows<kKeyBlocks>(a, a.k_operand, s.k[0], chunk, hv);
  if (operands_only) return;
  __syncthreads();

  Accumulator m;
  const float beta[2] = {s.beta[16 * warp + lane / 4], s.beta[16 * warp + lane / 4 + 8]};
  StoreMatrices<false>(BlockRow<false>(s.q[0], warp), p_packed);
#pragma unroll
  for (int block = 0; block < kWarps; ++block) {
    if (block != warp) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float p[2] = {0.f, 0.f};
#pragma unroll
        for (int distance = 1; distance < kWarps - block; ++distance) {
          if (warp == block + distance && valid[i % 2]) {
            p[0] = a.scale * p_left[distance - 1][i / 2][2 * (i % 2)];
            p[1] = a.scale * p_left[distance - 1][i / 2][2 * (i % 2) + 1];
          }
        }
        p_packed[i] = Pack(p[0], p[1]);
      }
      StoreMatrices<false>(BlockRow<false>(s.q[0], block), p_packed);
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float m_ij = warp == block ? m_diagonal[n][e] : 0.f;
#pragma unroll
        for (int distance = 1; distance < kWarps - block; ++distance) {
          if (warp == block + distance && valid[e / 2]) m_ij = m_left[distance - 1][n][e];
        }
        m.c[2 * block + n][e] = beta[e / 2] * m_ij;
      }
    }
  }
  InvertUnitLower(m, chunk.rows, s.k[0], s.gate[0], reinterpret_cast<float*>(s.columns[0]));
  FenceSharedWrites();
  __syncthreads();
  if (tid == 0) {
    const int row = static_cast<int>(chunk_head) * kTile;
    StoreMatrix(p_map, 0, row, s.q[0]);
    StoreMatrix(a_map, 0, row, s.k[0]);
    CommitStores();
  }
  if (tid < kChunk) {
    float* const rows = a.rows + chunk_head * kNumRowFactors * kChunk + tid;
    const bool valid = tid < chunk.rows;
    rows[kQueryFactor * kChunk] = valid ? a.scale : 0.f;
    rows[kKeyFactor * kChunk] = valid ? 1.f : 0.f;
    rows[kBarFactor * kChunk] = valid ? 1.f : 0.f;
    rows[kBeta * kChunk] = s.beta[tid];
    rows[kQueryNorm * kChunk] = valid ? s.query_norm[tid] : 0.f;
    rows[kKeyNorm * kChunk] = valid ? s.key_norm[tid] : 0.f;
    rows[kGate * kChunk] = 0.f;
    rows[(kNumRowFactors - 1) * kChunk] = 0.f;
  }
  if (tid == 0) WaitStores<0>();
}

template <int kKeyBlocks, DeltaGate kForm>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, bool operands_only,
            cudaStream_t stream) {
  const auto kernel = PrepareKernel<kKeyBlocks, kForm>;
  constexpr size_t kBytes = sizeof(Shared<kKeyBlocks>);
  delta::AllowSharedMemory(kernel, kBytes);
  const int64_t token_stride = static_cast<int64_t>(a.heads) * a.key_dim;
  const TensorMap q_map = MakeTokenMap(in.q, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap k_map = MakeTokenMap(in.k, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap gate_map = MakeTokenMap(in.gate, a.num_tokens, a.value_heads, a.key_dim,
                                          static_cast<int64_t>(a.value_heads) * a.key_dim);
  const TensorMap p_map = MakeMatrixMap(a.p, a.chunk_heads() * kChunk, kChunk);
  const TensorMap a_map = MakeMatrixMap(a.a_inv, a.chunk_heads() * kChunk, kChunk);
  kernel<<<static_cast<unsigned>(a.chunk_heads()), kThreads, kBytes, stream>>>(
      a, in, operands_only, q_map, k_map, gate_map, p_map, a_map);
  CUDA_CHECK_LAUNCH();
}

template <int kKeyBlocks>
void LaunchForm(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, bool operands_only,
                cudaStream_t stream) {
  switch (in.gate_form) {
    case DeltaGate::kLogDecay:
      return Launch<kKeyBlocks, DeltaGate::kLogDecay>(a, in, operands_only, stream);
    case DeltaGate::kSoftplus:
      return Launch<kKeyBlocks, DeltaGate::kSoftplus>(a, in, operands_only, stream);
    case DeltaGate::kBounded:
      return Launch<kKeyBlocks, DeltaGate::kBounded>(a, in, operands_only, stream);
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
