// dq, dk, dbeta and dg of every chunk and value head, with a decay per head or none. With r of a
// row's norm, Gamma_ij = exp(G_i - G_j) and x the caller's q and k (gradients times r below):
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
// Pairs of rows on the same side of t are left out, not added and subtracted: the rest is small and
// meets large factors in the gate's gradient.
//
// A persistent block has one warp that copies and two warpgroups that compute, on a chunk of one
// value head at a time. Warpgroup 0 owns P' and warpgroup 1 M'; with 128 key channels each has
// half of u, a and b, with 64 warpgroup 0 has u and warpgroup 1 the rest.
#include "kernels/cuda/gated_delta_rule_gates.cuh"
#include "kernels/cuda/sm90/channel_decay.cuh"
#include "kernels/cuda/sm90/delta_grad_ring.cuh"
#include "kernels/runtime/device.h"

namespace wyvern::sm90 {
namespace {

constexpr int kThreads = 3 * kWarpgroupThreads;
constexpr int kConsumers = 2 * kWarpgroupThreads;
constexpr int kConsumerWarps = kConsumers / kWarpSize;
constexpr int kConsumerBarrier = 1;

struct Outputs {
  Bf16 *dq, *dk, *d_beta;
  float* dg;
};

// Rows beyond the chunk belong to the next document; products sum over rows.
template <int kKeyBlocks>
__device__ __forceinline__ void ClearRowsBeyond(typename GradShared<kKeyBlocks>::Head& head,
                                                int rows) {
  const int tid = static_cast<int>(threadIdx.x) % kConsumers;
  for (int i = rows * 8 + tid; i < kChunk * 8; i += kConsumers) {
#pragma unroll
    for (int kb = 0; kb < kKeyBlocks; ++kb) {
      reinterpret_cast<uint4*>(head.q[kb])[i] = make_uint4(0, 0, 0, 0);
      reinterpret_cast<uint4*>(head.k[kb])[i] = make_uint4(0, 0, 0, 0);
    }
  }
  FenceSharedWrites();
  Sync(kConsumerBarrier, kConsumers);
}

template <int kKeyBlocks, bool kDecay, bool kGrouped, int kGroup>
__device__ __forceinline__ void Consume(const Args& a, const GatedDeltaRuleInputs<Bf16>& in,
                                        const Outputs& out, GradShared<kKeyBlocks>& s) {
  constexpr int kBlock = kKeyBlocks == 2 ? kGroup : 0;  // this warpgroup's key channels
  constexpr bool kQuery = kKeyBlocks == 2 || kGroup == 0, kKey = kKeyBlocks == 2 || kGroup == 1;
  const int warp = WarpOfGroup(), lane = LaneId(), row0 = 16 * warp + lane / 4;
  Ring heads{s.kHeads}, values{s.kValues};
  int parity = 0;
  const int items = a.num_chunks * a.heads;
  Chunk next = a.chunks[static_cast<int>(blockIdx.x) / a.heads];
  for (int item = static_cast<int>(blockIdx.x); item < items; item += gridDim.x) {
    const Chunk chunk = next;
    const int following = item + static_cast<int>(gridDim.x), key_head = item % a.heads;
    if (following < items) next = a.chunks[following / a.heads];
    Accumulator dq, dk;
    for (int hv = key_head * a.group; hv < (key_head + 1) * a.group; ++hv, parity ^= 1) {
      const bool last = !kGrouped || hv + 1 == (key_head + 1) * a.group;
      auto& head = s.head[heads.place];
      GradSums& sums = s.sums[parity];
      const int64_t token_head = static_cast<int64_t>(chunk.first) * a.value_heads + hv;
      const bool with_beta = out.d_beta != nullptr && in.beta != nullptr;
      Bf16 raw_beta[2] = {};  // loaded ahead of its use
      if constexpr (kGroup == 1) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = row0 + 8 * half;
          if (with_beta && row < chunk.rows) {
            raw_beta[half] = in.beta[token_head + static_cast<int64_t>(row) * a.value_heads];
          }
        }
      }

      // dO S, dv S, e dS+ and dO e^T or dv e^T.
      Accumulator from_o, from_dv, from_e, pairs;
      if constexpr (kQuery) Clear(from_o);
      if constexpr (kKey) Clear(from_dv);
      if constexpr (kKey) Clear(from_e);
      Clear(pairs);
      float state_dot = 0.f;
      for (int v = 0; v < a.value_dim; v += kTile) {
        const auto& value = s.value[values.place];
        Wait(s.value_full[values.place], values.full_parity());
        ProductFence();
        if constexpr (kQuery) {
          Product<Major::kInner, Major::kOuter, Sum::kAdd>(from_o, value.d_o, value.states[kBlock]);
        }
        if constexpr (kKey) {
          Product<Major::kInner, Major::kOuter, Sum::kAdd>(from_dv, value.dv, value.states[kBlock]);
          Product<Major::kInner, Major::kOuter, Sum::kAdd>(from_e, value.e, value.d_states[kBlock]);
        }
        Product<Major::kInner, Major::kInner, Sum::kAdd>(pairs, kGroup == 0 ? value.d_o : value.dv,
                                                         value.e);
        CommitProducts();
        if constexpr (kDecay) {
          constexpr int kPart = kTileElements / (kKeyBlocks == 2 ? 1 : 2);
          const int first = kKeyBlocks == 2 ? 0 : kGroup * kPart;
          state_dot += ThreadDot < kPart,
              kGrouped ? 1 : 4 > (value.states[kBlock] + first, value.d_states[kBlock] + first);
        }
        if constexpr (kQuery && kKey) {
          WaitProducts<0>(from_o, from_dv, from_e, pairs);
        } else if constexpr (kQuery) {
          WaitProducts<0>(from_o, pairs);
        } else {
          WaitProducts<0>(from_dv, from_e, pairs);
        }
        __syncwarp();
        if (lane == 0) Arrive(s.value_empty[values.place]);
        values.Advance();
      }

      Wait(s.head_full[heads.place], heads.full_parity());
      if (chunk.rows < kChunk) ClearRowsBeyond<kKeyBlocks>(head, chunk.rows);
      // x_q or x_k times x_k, for the sums over pairs; grouped heads have no registers for it yet.
      Accumulator product;
      const auto multiply_rows = [&] {
        ProductFence();
        const auto& left = kGroup == 0 ? head.q : head.k;
        Product<Major::kInner, Major::kInner, Sum::kOverwrite>(product, left[0], head.k[0]);
        if constexpr (kKeyBlocks == 2) {
          Product<Major::kInner, Major::kInner, Sum::kAdd>(product, left[1], head.k[1]);
        }
        CommitProducts();
      };
      if constexpr (kDecay && !kGrouped) multiply_rows();

      // Row factors; with a decay also what it needs of their products with x.
      {
        float row_u[2] = {0.f, 0.f}, row_z[2] = {0.f, 0.f};
        if (!kGrouped || hv == key_head * a.group) {
          if constexpr (kQuery) Clear(dq);
          if constexpr (kKey) Clear(dk);
        }
        if constexpr (kQuery) {
          AddScaled<kDecay>(dq, from_o, head.rows[kQueryFactor], 1.f, head.q[kBlock], row_u);
        }
        if constexpr (kKey) {
          AddScaled<kDecay>(dk, from_dv, head.rows[kKeyFactor], -1.f, head.k[kBlock], row_u);
          AddScaled<kDecay>(dk, from_e, head.rows[kBarFactor], 1.f, head.k[kBlock], row_z);
        }
        if constexpr (kDecay) {
          StoreRowSums(row_u, chunk.rows, sums.u[kGroup]);
          StoreRowSums(row_z, chunk.rows, sums.z[kGroup]);
          state_dot = WarpSum(state_dot);
          if (lane == 0) sums.states[4 * kGroup + warp] = state_dot;
        }
      }
      if constexpr (kDecay && kGrouped) multiply_rows();

      // P' or M'.
      float diagonal[2];
      const bool on_diagonal = kGroup == 1 && Diagonal(pairs, diagonal);
      {
        float factor[2], gate[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = row0 + 8 * half;
          gate[half] = head.rows[kGate][row];
          factor[half] =
              kGroup == 0 ? a.scale * head.rows[kQueryNorm][row] : -head.rows[kKeyNorm][row];
        }
        ForEachPair(pairs, [&](int, int half, int row, int column, float& x0, float& x1) {
          float2 scale = *reinterpret_cast<const float2*>(head.rows[kKeyNorm] + column);
          if constexpr (kDecay) {
            const float2 gate_j = *reinterpret_cast<const float2*>(head.rows[kGate] + column);
            scale.x *= Exp2((gate[half] - gate_j.x) * kLog2E);
            scale.y *= Exp2((gate[half] - gate_j.y) * kLog2E);
          }
          const int end = row < chunk.rows ? row + 1 - kGroup : 0;  // of the row's pairs
          x0 = column < end ? x0 * (factor[half] * scale.x) : 0.f;
          x1 = column + 1 < end ? x1 * (factor[half] * scale.y) : 0.f;
        });
        StoreFragment<false>(s.pairs[kGroup], ToFragment(pairs));
      }
      FenceSharedWrites();
      Sync(kConsumerBarrier, kConsumers);

      ProductFence();
      if constexpr (kQuery) {
        Product<Major::kInner, Major::kOuter, Sum::kAdd>(dq, s.pairs[0], head.k[kBlock]);
      }
      if constexpr (kKey) {
        Product<Major::kInner, Major::kOuter, Sum::kAdd>(dk, s.pairs[1], head.k[kBlock]);
        Product<Major::kOuter, Major::kOuter, Sum::kAdd>(dk, s.pairs[0], head.q[kBlock]);
        Product<Major::kOuter, Major::kOuter, Sum::kAdd>(dk, s.pairs[1], head.k[kBlock]);
      }
      CommitProducts();
      // Meanwhile.
      if (on_diagonal && with_beta) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = row0 + 8 * half;
          if (row >= chunk.rows) continue;
          const float beta = head.rows[kBeta][row];
          out.d_beta[token_head + static_cast<int64_t>(row) * a.value_heads] =
              FromFloatDevice<Bf16>(delta::BetaBackward(in.beta_form, diagonal[half] / beta / beta,
                                                        ToFloatDevice(raw_beta[half])));
        }
      }
      if constexpr (kDecay) {
        WaitProducts<1>(product);
        StorePairSums(pairs, product, sums.pairs[4 * kGroup + warp]);
      }
      if constexpr (kQuery && kKey) {
        WaitProducts<0>(dq, dk);
      } else if constexpr (kQuery) {
        WaitProducts<0>(dq);
      } else {
        WaitProducts<0>(dk);
      }
      if (last && in.l2_norm) {
        if constexpr (kQuery) StoreRowDots(dq, head.q[kBlock], sums.dot_q[kGroup]);
        if constexpr (kKey) StoreRowDots(dk, head.k[kBlock], sums.dot_k[kGroup]);
      }
      Sync(kConsumerBarrier, kConsumers);

      if (kDecay && out.dg != nullptr) {
        WriteLogDecayGrad(sums, expf(head.rows[kGate][chunk.rows - 1]), 4 * kGroup + warp,
                          chunk.rows, out.dg + token_head, a.value_heads);
      }
      if (last) {
        const int64_t stride = static_cast<int64_t>(a.heads) * a.key_dim;
        const int64_t at = chunk.first * stride + key_head * a.key_dim + kBlock * kTile;
        float along[2] = {0.f, 0.f};
        const auto along_of = [&](const float(&dots)[2][kChunk], RowFactor norm) {
          if (!in.l2_norm) return;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int row = row0 + 8 * half;
            const float r = head.rows[norm][row];
            const float dot = kKeyBlocks == 2 ? dots[0][row] + dots[1][row] : dots[kGroup][row];
            along[half] = dot * r * r;
          }
        };
        Bf16* const staging = s.pairs[kGroup];  // products with it have ended
        if (kQuery && out.dq != nullptr) {
          along_of(sums.dot_q, kQueryNorm);
          WriteRows(dq, along, head.q[kBlock], staging, chunk.rows, out.dq + at, stride);
        }
        if (kKey && out.dk != nullptr) {
          along_of(sums.dot_k, kKeyNorm);
          WriteRows(dk, along, head.k[kBlock], staging, chunk.rows, out.dk + at, stride);
        }
      }
      __syncwarp();
      if (lane == 0) Arrive(s.head_empty[heads.place]);
      heads.Advance();
    }
  }
}

template <int kKeyBlocks, bool kDecay, bool kGrouped>
__global__ void __launch_bounds__(kThreads, 1)
    GradKernel(Args a, GatedDeltaRuleInputs<Bf16> in, Outputs out,
               const __grid_constant__ GradMaps maps) {
  extern __shared__ __align__(1024) unsigned char shared[];
  auto& s = *reinterpret_cast<GradShared<kKeyBlocks>*>(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < s.kHeads; ++i) {
      Init(s.head_full[i], 1);
      Init(s.head_empty[i], kConsumerWarps);
    }
    for (int i = 0; i < s.kValues; ++i) {
      Init(s.value_full[i], 1);
      Init(s.value_empty[i], kConsumerWarps);
    }
    FenceBarrierInit();
  }
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  if (group == 2) {
    LowerRegisters<24>();
    if (threadIdx.x == kConsumers) ProduceGrad<kKeyBlocks>(a, maps, s);
  } else {
    RaiseRegisters<240>();
    if (group == 0) {
      Consume<kKeyBlocks, kDecay, kGrouped, 0>(a, in, out, s);
    } else {
      Consume<kKeyBlocks, kDecay, kGrouped, 1>(a, in, out, s);
    }
  }
}

template <int kKeyBlocks, bool kDecay, bool kGrouped>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
            const Outputs& out, cudaStream_t stream) {
  const auto kernel = GradKernel<kKeyBlocks, kDecay, kGrouped>;
  constexpr size_t kBytes = sizeof(GradShared<kKeyBlocks>);
  delta::AllowSharedMemory(kernel, kBytes);
  const int64_t key_stride = static_cast<int64_t>(a.heads) * a.key_dim;
  const auto value_map = [&](const Bf16* x) {
    return MakeTokenMap(x, a.num_tokens, a.value_heads, a.value_dim,
                        static_cast<int64_t>(a.value_heads) * a.value_dim);
  };
  const int64_t state_rows = a.chunk_heads() * a.value_dim;
  const GradMaps maps = {MakeTokenMap(in.q, a.num_tokens, a.heads, a.key_dim, key_stride),
                         MakeTokenMap(in.k, a.num_tokens, a.heads, a.key_dim, key_stride),
                         value_map(d_o),
                         value_map(a.e),
                         value_map(a.dv),
                         MakeMatrixMap(a.states, state_rows, a.key_dim),
                         MakeMatrixMap(a.d_states, state_rows, a.key_dim)};
  static const int num_sms = CurrentGpu().num_sms;
  const int blocks = std::min(num_sms, a.num_chunks * a.heads);
  kernel<<<static_cast<unsigned>(blocks), kThreads, kBytes, stream>>>(a, in, out, maps);
  CUDA_CHECK_LAUNCH();
}

template <int kKeyBlocks, bool kDecay>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
            const Outputs& out, cudaStream_t stream) {
  a.group > 1 ? Launch<kKeyBlocks, kDecay, true>(a, in, d_o, out, stream)
              : Launch<kKeyBlocks, kDecay, false>(a, in, d_o, out, stream);
}

}  // namespace

void GradHeads(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o, Bf16* dq,
               Bf16* dk, Bf16* d_beta, float* dg, cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  const Outputs out = {dq, dk, d_beta, dg};
  const bool decay = a.decay == DeltaDecay::kPerHead;
  if (a.key_blocks() == 1) {
    return decay ? Launch<1, true>(a, in, d_o, out, stream)
                 : Launch<1, false>(a, in, d_o, out, stream);
  }
  return decay ? Launch<2, true>(a, in, d_o, out, stream)
               : Launch<2, false>(a, in, d_o, out, stream);
}

}  // namespace wyvern::sm90
