// dq, dk, d_beta and d_gate with a decay per channel: persistent blocks that take one chunk and
// value head after another. A warpgroup has 32 channels, its warps 16 rows each.
//
//   1. dO S, dv S, e dS+ and, a quarter per warpgroup (half with two), dO e^T and dv e^T by wgmma,
//      along the value dim from a ring that the copy engine fills
//   2. dP' and dM' as tiles; d_beta from the diagonal of dv e^T = Diag(beta) y e^T
//   3. running sums of log decays, and the operands q E, k E, k B (channel_decay.cuh)
//   4. the products within the chunk, sums along rows for dg
//   5. gate backward; the norms' backward, for which rows are summed over all warpgroups
//
// Formulas: ../gated_delta_rule_grad.cu. Per token and value head it reads 6 (K + V) bytes and
// K V / 16, and writes 6 K: 3.3 KB at K = V = 128.
#include "kernels/cuda/sm90/delta_grad_channel_steps.cuh"

namespace wyvern::sm90 {
namespace {

template <int kKeyBlocks, DeltaGate kForm>
__global__ void __launch_bounds__(GradConfig<kKeyBlocks>::kThreads,
                                  GradConfig<kKeyBlocks>::kBlocksPerSm)
    GradKernel(Args a, GatedDeltaRuleInputs<Bf16> in, GradOutputs out,
               const __grid_constant__ GradMaps maps) {
  using C = GradConfig<kKeyBlocks>;
  constexpr int kQuarters = 4 / C::kGroups, kKeyDim = C::kKeyDim;
  extern __shared__ __align__(1024) unsigned char shared[];
  GradShared<kKeyBlocks>& s = *reinterpret_cast<GradShared<kKeyBlocks>*>(shared);
  const int tid = static_cast<int>(threadIdx.x), warp = WarpOfGroup(), lane = LaneId();
  const int group = tid / kWarpgroupThreads, kb = group / 2, half = group % 2;
  if (tid == 0) {
    for (int i = 0; i < C::kStages; ++i) {
      Init(s.loaded[i], 1);
      Init(s.freed[i], C::kWarps);
    }
    Init(s.keys_loaded, 1);
    Init(s.keys_freed, C::kWarps);
    FenceBarrierInit();
    s.ahead = PlaceOf(a, 0);
    s.value_block = 0;
    for (int i = 0; i < C::kStages; ++i) {
      LoadStage(s, i, a, maps);
      LookAhead(s, a);
    }
  }
  __syncthreads();

  Ring ring{C::kStages};
  for (int n = 0;; ++n) {
    const int item = static_cast<int>(blockIdx.x) + n / a.group * static_cast<int>(gridDim.x);
    if (item >= a.num_chunks * a.heads) break;
    const int rows = a.chunks[item / a.heads].rows;
    // Read again where it is needed, which costs no registers in between.
    const GradPlace& place = s.places[n & 1];

    // In the end x1 and x2 hold r dq and r dk, x3 dg.
    NarrowAccumulator x1, x2, x3;
    Clear(x1);
    Clear(x2);
    Clear(x3);
    {
      NarrowAccumulator pairs[kQuarters];
      float dot[2] = {0.f, 0.f};
#pragma unroll
      for (int i = 0; i < kQuarters; ++i) Clear(pairs[i]);
      const int value_blocks = a.value_dim / 64;
      for (int vb = 0; vb < value_blocks; ++vb) {
        Wait(s.loaded[ring.place], ring.full_parity());
        const GradStage<kKeyBlocks>& stage = s.stages[ring.place];
        ProductFence();
        AddNarrowProduct<Major::kOuter>(x1, stage.d_o, stage.state[kb], half);
        AddNarrowProduct<Major::kOuter>(x2, stage.dv, stage.state[kb], half);
        AddNarrowProduct<Major::kOuter>(x3, stage.e, stage.d_state[kb], half);
#pragma unroll
        for (int i = 0; i < kQuarters; ++i) {
          const int quarter = group * kQuarters + i;
          AddNarrowProduct<Major::kInner>(pairs[i], quarter < 2 ? stage.d_o : stage.dv, stage.e,
                                          quarter % 2);
        }
        CommitProducts();
        AddStateDot(dot, stage.state[kb], stage.d_state[kb], half);
        if (tid == 0) {
          if (vb == 0) {
            s.places[n & 1] = PlaceOf(a, n);
            Wait(s.keys_freed, n & 1 ^ 1);
            LoadKeys(s, a, maps, place);
          }
          LookAhead(s, a);
        }
        WaitProducts<0>(x1, x2, x3, pairs[0], pairs[kQuarters - 1]);
        __syncwarp();
        if (lane == 0) Arrive(s.freed[ring.place]);
        if (tid == 0) {
          Wait(s.freed[ring.place], ring.full_parity());
          LoadStage(s, ring.place, a, maps);
        }
        ring.Advance();
      }
      dot[0] += __shfl_xor_sync(0xffffffffu, dot[0], 16);
      dot[1] += __shfl_xor_sync(0xffffffffu, dot[1], 16);
      if (lane < 16) {
        *reinterpret_cast<float2*>(&s.state_dot[warp][32 * group + 2 * lane]) =
            make_float2(dot[0], dot[1]);
      }
#pragma unroll
      for (int i = 0; i < kQuarters; ++i) {
        StorePairs(s, pairs[i], group * kQuarters + i, rows, a.scale);
      }
    }
    __syncthreads();
    {
      const float* const row_factors =
          a.rows + (static_cast<int64_t>(place.chunk_index) * a.value_heads + place.hv) *
                       (kNumRowFactors * kChunk);
      if (tid < 2 * kChunk) {
        s.norms[0][tid] = row_factors[kQueryNorm * kChunk + tid];  // r of q, then of k
      }
      if (tid < kKeyDim) {
        s.bias[tid] = in.dt_bias == nullptr ? 0.f : in.dt_bias[place.hv * kKeyDim + tid];
      }
      if (tid < rows && out.d_beta != nullptr) {
        const int64_t at =
            (static_cast<int64_t>(place.chunk.first) + tid) * a.value_heads + place.hv;
        out.d_beta[at] = FromFloatDevice<Bf16>(BetaGradient(in.beta_form, s.diagonal[tid],
                                                            row_factors[kBeta * kChunk + tid],
                                                            ToFloatDevice(in.beta[at])));
      }
    }
    __syncthreads();

    Wait(s.keys_loaded, n & 1);
    float query_dot[2] = {0.f, 0.f}, key_dot[2] = {0.f, 0.f};
    {
      float sums[2][2][4];
      SumDecays<kKeyBlocks, kForm>(s, sums, GateRateOf(in, place.hv), rows);
      StoreOperands(s, sums[0], 0, RowPairOf(s, rows));
      StoreOperands(s, sums[1], 1, RowPairOf(s, rows));
      Sync(1 + group, kWarpgroupThreads);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        AddWithinChunk(s, x1, x2, x3, sums[step], step, RowPairOf(s, rows), a.scale, query_dot,
                       key_dot);
      }
    }
    {
      uint32_t gate_raw[2][4];
      const Bf16* const gates =
          in.gate +
          ((static_cast<int64_t>(place.chunk.first) + 16 * warp + lane / 4) * a.value_heads +
           place.hv) *
              kKeyDim +
          32 * group + 2 * (lane % 4);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int h = i % 2;
        gate_raw[i / 4][i % 4] =
            16 * warp + lane / 4 + 8 * h < rows
                ? *reinterpret_cast<const uint32_t*>(
                      gates + static_cast<int64_t>(8 * h) * a.value_heads * kKeyDim + 8 * (i / 2))
                : 0u;
      }
      Sync(1 + group, kWarpgroupThreads);
      StoreGates<kKeyBlocks, kForm>(s, x3, gate_raw, GateRateOf(in, place.hv), rows,
                                    out.bias_partials != nullptr);
      if (out.d_gate != nullptr) {
        const int64_t token_head =
            static_cast<int64_t>(place.chunk.first) * a.value_heads + place.hv;
        StoreOut(out.d_gate + token_head * kKeyDim + 64 * kb,
                 static_cast<int64_t>(a.value_heads) * kKeyDim, s.q_rows[kb], half, rows);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int offset = 1; offset < 4; offset *= 2) {
        query_dot[h] += __shfl_xor_sync(0xffffffffu, query_dot[h], offset);
        key_dot[h] += __shfl_xor_sync(0xffffffffu, key_dot[h], offset);
      }
      if (lane % 4 == 0) {
        const int row = 16 * warp + lane / 4 + 8 * h;
        s.dots[group][0][row] = query_dot[h];
        s.dots[group][1][row] = key_dot[h];
      }
    }
    __syncthreads();
    if (out.bias_partials != nullptr) {
      const int64_t chunk_head = static_cast<int64_t>(place.chunk_index) * a.value_heads + place.hv;
      if (tid < kKeyDim) {
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < 4; ++w) sum += s.bias_sum[w][tid];
        out.bias_partials[chunk_head * kKeyDim + tid] = sum;
      }
      if (tid == 0) {
        float sum = 0.f;
        for (int w = 0; w < C::kWarps; ++w) sum += s.a_log_sum[w];
        out.a_log_partials[chunk_head] = sum;
      }
    }

    const RowPair row_pair = RowPairOf(s, rows);
    FinishKeys(x1, s.q[kb], half, s.dots, 0, row_pair.query_norm, in.l2_norm);
    FinishKeys(x2, s.k[kb], half, s.dots, 1, row_pair.key_norm, in.l2_norm);
    FenceSharedWrites();  // k B was written where the copy engine writes next
    __syncwarp();
    if (lane == 0) Arrive(s.keys_freed);
    const int64_t ld = static_cast<int64_t>(a.heads) * kKeyDim;
    const int64_t key_row = place.chunk.first * ld + place.hv / a.group * kKeyDim;
    const bool first = n % a.group == 0, last = n % a.group == a.group - 1;
    const auto finish = [&](NarrowAccumulator& x, float* sum, Bf16* to, Bf16* tile) {
      if (to == nullptr) return;
      if (a.group > 1) {
        AddGroup(x, sum + key_row + 16 * warp * ld + 32 * group, ld, first, last, row_pair.valid);
        if (!last) return;
      }
      StoreRounded(tile, x, half);
      StoreOut(to + key_row + 64 * kb, ld, tile, half, rows);
    };
    finish(x1, out.dq_sum, out.dq, s.q_rows[kb]);
    finish(x2, out.dk_sum, out.dk, s.k_rows[kb]);
  }
}

template <int kKeyBlocks, DeltaGate kForm>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
            const GradOutputs& out, cudaStream_t stream) {
  static const int sms = [] {
    int count = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0));
    return count;
  }();
  using C = GradConfig<kKeyBlocks>;
  const auto kernel = GradKernel<kKeyBlocks, kForm>;
  constexpr size_t kBytes = sizeof(GradShared<kKeyBlocks>);
  delta::AllowSharedMemory(kernel, kBytes);
  const auto tokens = [&](const Bf16* x, int64_t heads, int64_t dim) {
    return MakeTokenMap(x, a.num_tokens, heads, dim, heads * dim);
  };
  const int64_t state_rows = a.chunk_heads() * a.value_dim;
  const GradMaps maps = {.q = tokens(in.q, a.heads, a.key_dim),
                         .k = tokens(in.k, a.heads, a.key_dim),
                         .gate = tokens(in.gate, a.value_heads, a.key_dim),
                         .states = MakeMatrixMap(a.states, state_rows, a.key_dim),
                         .d_states = MakeMatrixMap(a.d_states, state_rows, a.key_dim),
                         .e = tokens(a.e, a.value_heads, a.value_dim),
                         .dv = tokens(a.dv, a.value_heads, a.value_dim),
                         .d_o = tokens(d_o, a.value_heads, a.value_dim)};
  const int64_t items = static_cast<int64_t>(a.num_chunks) * a.heads;
  const unsigned blocks = static_cast<unsigned>(std::min<int64_t>(items, sms * C::kBlocksPerSm));
  kernel<<<blocks, C::kThreads, kBytes, stream>>>(a, in, out, maps);
  CUDA_CHECK_LAUNCH();
}

template <int kKeyBlocks>
void LaunchForm(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                const GradOutputs& out, cudaStream_t stream) {
  switch (in.gate_form) {
    case DeltaGate::kLogDecay:
      return Launch<kKeyBlocks, DeltaGate::kLogDecay>(a, in, d_o, out, stream);
    case DeltaGate::kSoftplus:
      return Launch<kKeyBlocks, DeltaGate::kSoftplus>(a, in, d_o, out, stream);
    case DeltaGate::kBounded:
      return Launch<kKeyBlocks, DeltaGate::kBounded>(a, in, d_o, out, stream);
  }
}

}  // namespace

void LaunchGradChannels(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                        const GradOutputs& out, cudaStream_t stream) {
  if (a.key_blocks() == 1) return LaunchForm<1>(a, in, d_o, out, stream);
  LaunchForm<2>(a, in, d_o, out, stream);
}

}  // namespace wyvern::sm90
