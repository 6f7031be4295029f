// The WY representation of every chunk and value head, with a decay per head or none: row factors,
// A (by the UT transform) and P. One warpgroup each.
#include "kernels/common/sm90/async.cuh"
#include "kernels/delta_rule/cuda/gates.cuh"
#include "kernels/delta_rule/sm90/channel_decay.cuh"
#include "kernels/delta_rule/sm90/passes.cuh"
#include "kernels/delta_rule/sm90/ut_transform.cuh"

namespace wyvern::sm90 {
namespace {

constexpr int kThreads = kWarpgroupThreads;
constexpr float kLn2 = 0.6931471805599453f;

struct Shared {
  // q's tiles in 0 and 1, k's in 2 and 3; then P, the inverse's scratch, A and its low terms.
  Bf16 tiles[4][kTileElements];
  float query_norm[kChunk], key_norm[kChunk], beta[kChunk];
  float gate[kChunk];  // G in base 2
  float half_sum;      // of the first 32 steps' log decays
  Barrier loaded;
};
static_assert(kUtScratchBytes <= kTileBytes);

// r of the rows from the diagonal of X X^T.
__device__ __forceinline__ void StoreNorms(const Accumulator& squares, int rows, float eps,
                                           float* norm) {
  const int lane = LaneId(), warp = WarpOfGroup();
  float diagonal[2] = {0.f, 0.f};  // of rows lane / 4 and lane / 4 + 8 of the warp's 16
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const float* const pair = squares.c[n] + 2 * (n % 2);
    if (n / 2 == warp) diagonal[n % 2] = lane / 4 % 2 == 0 ? pair[0] : pair[1];
  }
  if (lane / 8 != lane % 4) return;  // holds no element of the diagonal
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = 16 * warp + 8 * half + lane / 4;
    norm[row] = row < rows ? rsqrtf(diagonal[half] + eps) : 0.f;
  }
}

template <int kKeyBlocks>
__device__ __forceinline__ void Products(Accumulator& d, const Bf16* a, const Bf16* b) {
  Product<Major::kInner, Major::kInner, Sum::kOverwrite>(d, a, b);
  if constexpr (kKeyBlocks == 2) {
    Product<Major::kInner, Major::kInner, Sum::kAdd>(d, a + kTileElements, b + kTileElements);
  }
}

template <int kKeyBlocks, bool kDecay>
__global__ void __launch_bounds__(kThreads, 5)
    WyHeadsKernel(Args a, GatedDeltaRuleInputs<Bf16> in, const __grid_constant__ TensorMap q_map,
                  const __grid_constant__ TensorMap k_map, const __grid_constant__ TensorMap p_map,
                  const __grid_constant__ TensorMap a_map) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Shared& s = *reinterpret_cast<Shared*>(shared);
  const int tid = static_cast<int>(threadIdx.x), warp = WarpOfGroup(), lane = LaneId();
  const int64_t chunk_head = blockIdx.x;
  const int hv = static_cast<int>(blockIdx.x % a.value_heads);
  const Chunk chunk = a.chunks[blockIdx.x / a.value_heads];
  if (tid == 0) {
    Init(s.loaded, 1);
    FenceBarrierInit();
    ArriveExpecting(s.loaded, 2 * kKeyBlocks * kTileBytes);
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      CopyTokens(s.tiles[kb], q_map, kb * kTile, hv / a.group, chunk.first, s.loaded);
      CopyTokens(s.tiles[2 + kb], k_map, kb * kTile, hv / a.group, chunk.first, s.loaded);
    }
  }

  // Rows beyond the chunk take no step, so that the last row's G is that of the chunk.
  float beta = 0.f, gate = 0.f, beta_slope = 0.f;
  delta::GateGradient gate_slope = {0.f, 0.f};
  if (tid < chunk.rows) {
    const int64_t at = (static_cast<int64_t>(chunk.first) + tid) * a.value_heads + hv;
    beta = delta::BetaOf(in.beta_form, in.beta, at);
    beta = copysignf(fmaxf(fabsf(beta), kMinBetaSm90), beta);
    if (in.beta != nullptr) {
      beta_slope = delta::BetaBackward(in.beta_form, 1.f / beta / beta, ToFloatDevice(in.beta[at]));
    }
    if constexpr (kDecay) {
      const float a_log = in.a_log == nullptr ? 0.f : in.a_log[hv];
      const float bias = in.dt_bias == nullptr ? 0.f : in.dt_bias[hv];
      const float raw = ToFloatDevice(in.gate[at]), bound = static_cast<float>(in.lower_bound);
      gate = fmaxf(delta::LogDecay(in.gate_form, raw, a_log, bias, bound), kMinLogDecay);
      gate_slope = delta::LogDecayBackward(in.gate_form, 1.f, raw, a_log, bias, bound);
    }
  }
  if constexpr (kDecay) {
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const float before = __shfl_up_sync(0xffffffffu, gate, offset);
      if (lane >= offset) gate += before;
    }
    if (tid == kWarpSize - 1) s.half_sum = gate;
  }
  __syncthreads();
  if (tid < kChunk) {
    if (kDecay && warp == 1) gate += s.half_sum;
    gate *= kLog2E;
    s.gate[tid] = gate;
    s.beta[tid] = beta;
    if (!in.l2_norm) s.query_norm[tid] = s.key_norm[tid] = tid < chunk.rows ? 1.f : 0.f;
  }

  Wait(s.loaded, 0);
  Accumulator p, m;
  Clear(p);
  ProductFence();
  if (in.l2_norm) Products<kKeyBlocks>(p, s.tiles[0], s.tiles[0]);
  Products<kKeyBlocks>(m, s.tiles[2], s.tiles[2]);
  CommitProducts();
  WaitProducts<0>(p, m);
  if (in.l2_norm) {
    const float eps = static_cast<float>(in.l2_norm_eps);
    StoreNorms(p, chunk.rows, eps, s.query_norm);
    StoreNorms(m, chunk.rows, eps, s.key_norm);
  }
  ProductFence();
  Products<kKeyBlocks>(p, s.tiles[0], s.tiles[2]);
  CommitProducts();
  WaitProducts<0>(p);
  __syncthreads();

  {
    const float last_gate = s.gate[kChunk - 1];
    if (tid < kChunk) {
      float* const rows = a.rows + chunk_head * kNumRowFactors * kChunk + tid;
      const bool valid = tid < chunk.rows;
      const float query_norm = s.query_norm[tid], key_norm = s.key_norm[tid];
      const float decay = kDecay ? Exp2(gate) : 1.f, rest = kDecay ? Exp2(last_gate - gate) : 1.f;
      rows[kQueryFactor * kChunk] = a.scale * query_norm * decay;
      rows[kKeyFactor * kChunk] = key_norm * decay;
      rows[kBarFactor * kChunk] = key_norm * rest;
      rows[kBeta * kChunk] = beta;
      rows[kQueryNorm * kChunk] = query_norm;
      rows[kKeyNorm * kChunk] = key_norm;
      rows[kGate * kChunk] = valid ? gate * kLn2 : 0.f;
      rows[kBetaSlope * kChunk] = beta_slope;
      rows[kGateSlope * kChunk] = gate_slope.d_x;
      rows[kRateSlope * kChunk] = gate_slope.d_a_log;
    }
    if (kDecay && tid < 64 * kKeyBlocks) {
      a.chunk_decay[chunk_head * 64 * kKeyBlocks + tid] = exp2f(last_gate);
    }
  }
  // p becomes P and m becomes Diag(beta) M, by selection: what lies above the diagonal may be
  // infinite and what lies beyond the chunk anything.
  {
    float query_norm[2], key_norm[2], gate_i[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * warp + lane / 4 + 8 * half;
      query_norm[half] = a.scale * s.query_norm[row];
      key_norm[half] = s.beta[row] * s.key_norm[row];
      gate_i[half] = s.gate[row];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t packed[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (j > warp) continue;  // above the diagonal
        const int n = 2 * j + i / 2, half = i % 2;
        const int row = 16 * warp + lane / 4 + 8 * half, column = 8 * n + 2 * (lane % 4);
        float2 factor = *reinterpret_cast<const float2*>(s.key_norm + column);
        if constexpr (kDecay) {
          const float2 gate_j = *reinterpret_cast<const float2*>(s.gate + column);
          factor.x *= Exp2(gate_i[half] - gate_j.x);
          factor.y *= Exp2(gate_i[half] - gate_j.y);
        }
        float *const p_pair = p.c[n] + 2 * half, *const m_pair = m.c[n] + 2 * half;
        const int last = row < chunk.rows ? row : -1;
        packed[i] = Pack(column <= last ? p_pair[0] * (query_norm[half] * factor.x) : 0.f,
                         column < last ? p_pair[1] * (query_norm[half] * factor.y) : 0.f);
        m_pair[0] = column < last ? m_pair[0] * (key_norm[half] * factor.x) : 0.f;
        m_pair[1] = column + 1 < last ? m_pair[1] * (key_norm[half] * factor.y) : 0.f;
      }
      StoreMatrices<false>(BlockRow<false>(s.tiles[0], j), packed);
    }
  }
  UtTransform(m, chunk.rows, s.tiles[2], s.tiles[3], reinterpret_cast<float*>(s.tiles[1]));
  FenceSharedWrites();
  __syncthreads();
  if (tid == 0) {
    const int row = static_cast<int>(chunk_head) * kTile;
    StoreMatrix(p_map, 0, row, s.tiles[0]);
    StoreMatrix(a_map, 0, row, s.tiles[2]);
    CommitStores();
    WaitStores<0>();
  }
}

template <int kKeyBlocks, bool kDecay>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  const auto kernel = WyHeadsKernel<kKeyBlocks, kDecay>;
  delta::AllowSharedMemory(kernel, sizeof(Shared));
  const int64_t token_stride = static_cast<int64_t>(a.heads) * a.key_dim;
  const TensorMap q_map = MakeTokenMap(in.q, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap k_map = MakeTokenMap(in.k, a.num_tokens, a.heads, a.key_dim, token_stride);
  const TensorMap p_map = MakeMatrixMap(a.p, a.chunk_heads() * kChunk, kChunk);
  const TensorMap a_map = MakeMatrixMap(a.ut, a.chunk_heads() * kChunk, kChunk);
  kernel<<<static_cast<unsigned>(a.chunk_heads()), kThreads, sizeof(Shared), stream>>>(
      a, in, q_map, k_map, p_map, a_map);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

void WyHeads(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  const bool decay = a.decay == DeltaDecay::kPerHead;
  if (a.key_blocks() == 1) {
    return decay ? Launch<1, true>(a, in, stream) : Launch<1, false>(a, in, stream);
  }
  return decay ? Launch<2, true>(a, in, stream) : Launch<2, false>(a, in, stream);
}

}  // namespace wyvern::sm90
