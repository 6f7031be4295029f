// dq, dk, dbeta and the gates' gradients of every chunk and value head, with a decay per head or
// none. With r of a row's norm, Gamma_ij = exp(G_i - G_j) and x the caller's q and k (gradients
// times r below):
//
//   P'_ij = s dP_ij Gamma_ij r_qi r_kj, dP = dO e^T, i >= j      u_i = (f_q dO S)_i + (P' x_k)_i
//   M'_ij = -(dv_i e_j) Gamma_ij r_ki r_kj, i > j                a_i = (-f_k dv S)_i + (M' x_k)_i
//   b_j = (f_bar e dS+)_j + (P'^T x_q)_j + (M'^T x_k)_j          dbeta_i = dv_i e_i / beta_i^2
//
// u is of q, a + b of k; f are the row factors. dbeta is y_i (r - M e)_i, which is y_i e_i / beta_i
// without its cancellation.
//
//   dg_t = sum_{i >= t} [x_q f_q dO S - x_k f_k dv S]_i + sum_{j < t} [x_k f_bar e dS+]_j
//        + e^{G_C} sum S dS+ + sum_{i >= t > j} [P'_ij x_qi x_kj + M'_ij x_ki x_kj]
//
// A persistent block takes one chunk of a value head after another. Four warpgroups compute (two
// with 64 key channels), each 32 channels of u, a and b, and 32 columns of P' or M'; one warp
// copies and, of turns that are over, ends the gates' gradients.
#include "kernels/delta_rule/sm90/chunk_grad_heads.cuh"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/device.h"

namespace wyvern::sm90 {
namespace {

// Named barriers of the kernel's block.
enum HeadGradBarrier {
  kHeadGradConsumers = 1,  // all warpgroups that compute
};

// Rows beyond the chunk belong to the next document; products sum over rows.
template <int kKeyBlocks>
__device__ __forceinline__ void ClearRowsBeyond(typename HeadGradShared<kKeyBlocks>::Head& head,
                                                int rows) {
  constexpr int kConsumers = HeadGradConfig<kKeyBlocks>::kConsumers;
  for (int i = rows * 8 + static_cast<int>(threadIdx.x); i < kChunk * 8; i += kConsumers) {
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      reinterpret_cast<uint4*>(head.q[kb])[i] = make_uint4(0, 0, 0, 0);
      reinterpret_cast<uint4*>(head.k[kb])[i] = make_uint4(0, 0, 0, 0);
    }
  }
  FenceSharedWrites();
  Sync(kHeadGradConsumers, kConsumers);
}

template <int kKeyBlocks, bool kDecay>
__device__ __forceinline__ void Consume(const Args& a, bool l2_norm, const HeadGradOutputs& out,
                                        HeadGradShared<kKeyBlocks>& s) {
  using C = HeadGradConfig<kKeyBlocks>;
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / kWarpgroupThreads, 0);
  const int kb = group / 2, half = group % 2;  // its channels: 64 kb + 32 half ..
  const int warp = WarpOfGroup(), lane = LaneId(), row0 = 16 * warp + lane / 4;
  // Its columns of P' (or M'): 32 column_half(0) ..
  const bool is_m = group * C::kQuarters >= 2;
  const auto column_half = [&](int i) { return C::kQuarters == 2 ? i : half; };
  // This warp's columns are all above the diagonal (with two warpgroups, half of them).
  const bool ends_gates = kDecay && warp == 0 && group == C::kGroups - 1;
  // Elements (row, row) of dv e^T of rows row0 and row0 + 8.
  const bool on_diagonal = is_m && (C::kQuarters == 2 || half == warp / 2) && lane / 8 == lane % 4;

  Ring values{C::kValues};
  const int turns = CountTurns(a);
  for (int n = 0; n < turns; ++n) {
    auto& head = s.head[n % C::kHeads];
    const auto& factors = s.rows[n % C::kHeads];
    GateSums<C::kGroups>& sums = s.sums[n % 2];

    // dO S, dv S, e dS+ and dO e^T or dv e^T.
    NarrowAccumulator from_o, from_dv, from_e, pairs[C::kQuarters];
    Clear(from_o);
    Clear(from_dv);
    Clear(from_e);
#pragma unroll
    for (int i = 0; i < C::kQuarters; ++i) Clear(pairs[i]);
    float state_dot = 0.f;
#pragma unroll 1
    for (int v = 0; v < a.value_dim; v += kTile) {
      const auto& value = s.value[values.place];
      Wait(s.value_full[values.place], values.full_parity());
      ProductFence();
      AddNarrowProduct<Major::kInner, Major::kOuter>(from_o, value.d_o, value.states[kb], half);
      AddNarrowProduct<Major::kInner, Major::kOuter>(from_dv, value.dv, value.states[kb], half);
      AddNarrowProduct<Major::kInner, Major::kOuter>(from_e, value.e, value.d_states[kb], half);
#pragma unroll
      for (int i = 0; i < C::kQuarters; ++i) {
        AddNarrowProduct<Major::kInner, Major::kInner>(pairs[i], is_m ? value.dv : value.d_o,
                                                       value.e, column_half(i));
      }
      CommitProducts();
      if constexpr (kDecay) {
        constexpr int kPieces = kKeyBlocks * kTileElements / (8 * C::kConsumers);
        state_dot += ThreadDot<kPieces>(value.states[0], value.d_states[0],
                                        static_cast<int>(threadIdx.x), C::kConsumers);
      }
      WaitProducts<0>(from_o, from_dv, from_e, pairs[0], pairs[C::kQuarters - 1]);
      __syncwarp();
      if (lane == 0) Arrive(s.value_empty[values.place]);
      values.Advance();
    }

    Wait(s.head_full[n % C::kHeads], n / C::kHeads & 1);
    const GradTurn& turn = s.turns[n % kGradTurns];
    const int rows = turn.chunk.rows;
    const bool last = (n + 1) % a.group == 0;  // of the value heads of a key head
    if (rows < kChunk) ClearRowsBeyond<kKeyBlocks>(head, rows);
    // x_q or x_k times x_k, for the sums over pairs.
    NarrowAccumulator product[C::kQuarters];
    if constexpr (kDecay) {
#pragma unroll
      for (int i = 0; i < C::kQuarters; ++i) Clear(product[i]);
      ProductFence();
#pragma unroll
      for (int i = 0; i < C::kQuarters; ++i) {
#pragma unroll
        for (int b = 0; b < kKeyBlocks; ++b) {
          AddNarrowProduct<Major::kInner, Major::kInner>(product[i], is_m ? head.k[b] : head.q[b],
                                                         head.k[b], column_half(i));
        }
      }
      CommitProducts();
    }

    NarrowAccumulator dq, dk;
    // Row factors; with a decay also what it needs of their products with x.
    {
      Clear(dq);
      Clear(dk);
      float query[2], key[2], bar[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        query[h] = factors[kQueryFactor][row0 + 8 * h];
        key[h] = -factors[kKeyFactor][row0 + 8 * h];
        bar[h] = factors[kBarFactor][row0 + 8 * h];
      }
      float row_sums[4] = {};  // u of two rows, z of two rows
      NarrowPairs x = {};
      if constexpr (kDecay) x = LoadPairs(head.q[kb], half);
      AddScaled<kDecay>(dq, from_o, query, x, row_sums);
      if constexpr (kDecay) x = LoadPairs(head.k[kb], half);
      AddScaled<kDecay>(dk, from_dv, key, x, row_sums);
      AddScaled<kDecay>(dk, from_e, bar, x, row_sums + 2);
      if constexpr (kDecay) {
        const float sum = FoldRows(row_sums);
        const int row = row0 + 8 * (lane % 2);
        (lane % 4 < 2 ? sums.u : sums.z)[group][row] = row < rows ? sum : 0.f;
        state_dot = WarpSum(state_dot);
        if (lane == 0) sums.states[4 * group + warp] = state_dot;
      }
    }

    // P' or M'.
    float diagonal[2] = {0.f, 0.f};
#pragma unroll
    for (int i = 0; i < C::kQuarters; ++i) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float* const pair = pairs[i].c[n] + 2 * (n % 2);
        if (is_m && 2 * column_half(i) + n / 2 == warp) {
          diagonal[n % 2] = lane / 4 % 2 == 0 ? pair[0] : pair[1];
        }
      }
      MakePairs<kDecay>(pairs[i], is_m, column_half(i), factors, rows, a.scale, s.pairs[is_m]);
    }
    FenceSharedWrites();
    Sync(kHeadGradConsumers, C::kConsumers);

    ProductFence();
    AddNarrowProduct<Major::kInner, Major::kOuter>(dq, s.pairs[0], head.k[kb], half);
    AddNarrowProduct<Major::kInner, Major::kOuter>(dk, s.pairs[1], head.k[kb], half);
    AddNarrowProduct<Major::kOuter, Major::kOuter>(dk, s.pairs[0], head.q[kb], half);
    AddNarrowProduct<Major::kOuter, Major::kOuter>(dk, s.pairs[1], head.k[kb], half);
    CommitProducts();
    // Meanwhile.
    if (on_diagonal && out.d_beta != nullptr) {
      const int64_t token_head = static_cast<int64_t>(turn.chunk.first) * a.value_heads + turn.hv;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row0 + 8 * h;
        if (row >= rows) continue;
        out.d_beta[token_head + static_cast<int64_t>(row) * a.value_heads] =
            FromFloatDevice<Bf16>(diagonal[h] * factors[kBetaSlope][row]);
      }
    }
    if constexpr (kDecay) {
      WaitProducts<1>(product[0], product[C::kQuarters - 1]);
#pragma unroll
      for (int i = 0; i < C::kQuarters; ++i) {
        const int column = column_half(i);
        if (warp / 2 > column) {
          StoreLateSums(pairs[i], product[i], sums.late_rows[is_m],
                        sums.early_columns[is_m][warp % 2]);
        } else if (warp / 2 == column) {
          StorePairSums(pairs[i], product[i], sums.pairs[is_m][warp % 2] + kHalfChunk * column);
        }
      }
    }
    if (kDecay && ends_gates) {
      if (n > 0) WriteGateGradients(a, out, s.turns[(n - 1) % kGradTurns], s.sums[(n - 1) % 2]);
#pragma unroll
      for (int row = lane; row < kChunk; row += kWarpSize) {
        sums.slopes[0][row] = factors[kGateSlope][row];
        sums.slopes[1][row] = factors[kRateSlope][row];
      }
      if (lane == 0) sums.decay = Exp2(factors[kGate][rows - 1] * kLog2E);
    }
    WaitProducts<0>(dq, dk);
    if (a.group > 1) {
      float4* const before = out.key_sums + blockIdx.x * (8 * C::kConsumers) + threadIdx.x;
      AddGroup(dq, before, C::kConsumers, n % a.group == 0, last);
      AddGroup(dk, before + 4 * C::kConsumers, C::kConsumers, n % a.group == 0, last);
    }
    if (last && l2_norm) {
      float dots[4] = {};
      AddRowDots(dq, LoadPairs(head.q[kb], half), dots);
      AddRowDots(dk, LoadPairs(head.k[kb], half), dots + 2);
      const float dot = FoldRows(dots);
      s.dots[lane % 4 / 2][row0 + 8 * (lane % 2)][group] = dot;
    }
    Sync(kHeadGradConsumers, C::kConsumers);

    if (last) {
      const int64_t stride = static_cast<int64_t>(a.heads) * a.key_dim;
      const int64_t at = turn.chunk.first * stride + turn.hv / a.group * a.key_dim + kb * kTile;
      const auto write = [&](const NarrowAccumulator& d, int which, RowFactor norm, Bf16* tile,
                             Bf16* to) {
        if (to == nullptr) return;
        float along[2] = {0.f, 0.f};
        if (l2_norm) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int row = row0 + 8 * h;
            const float r = factors[norm][row];
#pragma unroll
            for (int g = 0; g < C::kGroups; ++g) along[h] += s.dots[which][row][g];
            along[h] *= r * r;
          }
        }
        WriteRows(d, along, tile, half, rows, to + at, stride);
      };
      write(dq, 0, kQueryNorm, head.q[kb], out.dq);
      write(dk, 1, kKeyNorm, head.k[kb], out.dk);
      FenceSharedWrites();  // the copy engine writes there next
    }
    Arrive(s.head_empty[n % C::kHeads]);
  }
  if (kDecay && ends_gates) {
    __syncwarp();
    WriteGateGradients(a, out, s.turns[(turns - 1) % kGradTurns], s.sums[(turns - 1) % 2]);
  }
}

template <int kKeyBlocks, bool kDecay>
__global__ void __launch_bounds__(HeadGradConfig<kKeyBlocks>::kThreads, 1)
    ChunkGradHeadsKernel(Args a, bool l2_norm, HeadGradOutputs out,
                         const __grid_constant__ HeadGradMaps maps) {
  using C = HeadGradConfig<kKeyBlocks>;
  extern __shared__ __align__(1024) unsigned char shared[];
  auto& s = *reinterpret_cast<HeadGradShared<kKeyBlocks>*>(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < C::kHeads; ++i) {
      Init(s.head_full[i], 1);
      Init(s.head_empty[i], C::kConsumers);
    }
    for (int i = 0; i < C::kValues; ++i) {
      Init(s.value_full[i], 1);
      Init(s.value_empty[i], C::kConsumers / kWarpSize);
    }
    FenceBarrierInit();
  }
  __syncthreads();
  if (threadIdx.x >= C::kConsumers) {
    LowerRegisters<C::kProducerRegisters>();
    if (threadIdx.x == C::kConsumers) Produce(a, maps, s);
  } else {
    RaiseRegisters<C::kRegisters>();
    Consume<kKeyBlocks, kDecay>(a, l2_norm, out, s);
  }
}

// d_dt_bias and d_a_log of a value head, in a fixed order.
constexpr int kSumThreads = 256;
__global__ void __launch_bounds__(kSumThreads)
    SumGateGradsKernel(const float2* partials, int num_chunks, int value_heads, float* d_a_log,
                       float* d_dt_bias) {
  __shared__ double2 sums[kSumThreads];
  const int hv = static_cast<int>(blockIdx.x), tid = static_cast<int>(threadIdx.x);
  double2 sum = {0, 0};
#pragma unroll 4
  for (int c = tid; c < num_chunks; c += kSumThreads) {
    const float2 part = partials[static_cast<int64_t>(c) * value_heads + hv];
    sum.x += static_cast<double>(part.x);
    sum.y += static_cast<double>(part.y);
  }
  sums[tid] = sum;
  __syncthreads();
  for (int size = kSumThreads / 2; size > 0; size /= 2) {
    if (tid < size) {
      sums[tid].x += sums[tid + size].x;
      sums[tid].y += sums[tid + size].y;
    }
    __syncthreads();
  }
  if (tid > 0) return;
  if (d_dt_bias != nullptr) d_dt_bias[hv] = static_cast<float>(sums[0].x);
  if (d_a_log != nullptr) d_a_log[hv] = static_cast<float>(sums[0].y);
}

int NumBlocks(const Args& a) { return std::min(a.num_sms, a.num_chunks * a.heads); }

template <int kKeyBlocks, bool kDecay>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
            const HeadGradOutputs& out, cudaStream_t stream) {
  using C = HeadGradConfig<kKeyBlocks>;
  const auto kernel = ChunkGradHeadsKernel<kKeyBlocks, kDecay>;
  constexpr size_t kBytes = sizeof(HeadGradShared<kKeyBlocks>);
  delta::AllowSharedMemory(kernel, kBytes);
  const int64_t key_stride = static_cast<int64_t>(a.heads) * a.key_dim;
  const auto value_map = [&](const Bf16* x) {
    return MakeTokenMap(x, a.num_tokens, a.value_heads, a.value_dim,
                        static_cast<int64_t>(a.value_heads) * a.value_dim);
  };
  const int64_t state_rows = a.chunk_heads() * a.value_dim;
  const HeadGradMaps maps = {MakeTokenMap(in.q, a.num_tokens, a.heads, a.key_dim, key_stride),
                             MakeTokenMap(in.k, a.num_tokens, a.heads, a.key_dim, key_stride),
                             value_map(d_o),
                             value_map(a.e),
                             value_map(a.dv),
                             MakeMatrixMap(a.states, state_rows, a.key_dim),
                             MakeMatrixMap(a.d_states, state_rows, a.key_dim)};
  const int blocks = NumBlocks(a);
  kernel<<<static_cast<unsigned>(blocks), C::kThreads, kBytes, stream>>>(a, in.l2_norm, out, maps);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

void ChunkGradHeads(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                    const ChunkGrads& grads, cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  const bool decay = a.decay == DeltaDecay::kPerHead;
  const bool sums = decay && (grads.d_a_log != nullptr || grads.d_dt_bias != nullptr);
  const Buffer partials(Device::kCuda, sums ? a.chunk_heads() * sizeof(float2) : 0);
  const int64_t key_sums = a.group > 1 ? NumBlocks(a) * int64_t{2 * kChunk} * a.key_dim : 0;
  const Buffer group_sums(Device::kCuda, key_sums * sizeof(float));
  const HeadGradOutputs out = {.dq = grads.dq,
                               .dk = grads.dk,
                               .d_beta = grads.d_beta,
                               .d_gate = grads.d_gate,
                               .gate_partials = sums ? partials.as<float2>() : nullptr,
                               .key_sums = group_sums.as<float4>()};
  if (a.key_blocks() == 1) {
    decay ? Launch<1, true>(a, in, d_o, out, stream) : Launch<1, false>(a, in, d_o, out, stream);
  } else {
    decay ? Launch<2, true>(a, in, d_o, out, stream) : Launch<2, false>(a, in, d_o, out, stream);
  }
  if (!sums) return;
  SumGateGradsKernel<<<static_cast<unsigned>(a.value_heads), kSumThreads, 0, stream>>>(
      out.gate_partials, a.num_chunks, a.value_heads, grads.d_a_log, grads.d_dt_bias);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern::sm90
