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
// Formulas: ../cuda/chunk_grad.cu. Per token and value head it reads 6 (K + V) bytes and
// K V / 16, and writes 6 K: 3.3 KB at K = V = 128.
#include "kernels/delta_rule/sm90/chunk_grad_channels_steps.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern::sm90 {
namespace {

// The turn's first step: x1, x2, x3 = dO S, dv S, e dS+, and dP' and dM' in s.dp and s.dm.
template <int kKeyBlocks>
__device__ __forceinline__ void MultiplyStates(GradShared<kKeyBlocks>& s, NarrowAccumulator& x1,
                                               NarrowAccumulator& x2, NarrowAccumulator& x3,
                                               const Args& a, const GradMaps& maps, int n) {
  using C = GradConfig<kKeyBlocks>;
  constexpr int kQuarters = 4 / C::kGroups;
  const Who who = WhoAmI(s);
  const GradPlace& place = s.places[n % kPlaces];
  NarrowAccumulator pairs[kQuarters];
  float dot[2] = {0.f, 0.f};
  Clear(x1);
  Clear(x2);
  Clear(x3);
#pragma unroll
  for (int i = 0; i < kQuarters; ++i) Clear(pairs[i]);
  const int value_blocks = a.value_dim / 64, kb = who.key_block();
#pragma unroll 1
  for (int vb = 0; vb < value_blocks; ++vb) {
    const int position = n * value_blocks + vb, at = position % C::kStages;
    const int parity = position / C::kStages & 1;
    Wait(s.loaded[at], parity);
    const GradStage<kKeyBlocks>& stage = s.stages[at];
    ProductFence();
    AddNarrowProduct<Major::kInner, Major::kOuter>(x1, stage.d_o, stage.state[kb], who.half());
    AddNarrowProduct<Major::kInner, Major::kOuter>(x2, stage.dv, stage.state[kb], who.half());
    AddNarrowProduct<Major::kInner, Major::kOuter>(x3, stage.e, stage.d_state[kb], who.half());
#pragma unroll
    for (int i = 0; i < kQuarters; ++i) {
      const int quarter = who.group * kQuarters + i;
      AddNarrowProduct<Major::kInner, Major::kInner>(pairs[i], quarter < 2 ? stage.d_o : stage.dv,
                                                     stage.e, quarter % 2);
    }
    CommitProducts();
    AddStateDot(dot, stage.state[kb], stage.d_state[kb], who);
    if (vb == 0 && threadIdx.x == kWarpgroupThreads) {
      Wait(s.keys_freed, n & 1 ^ 1);
      LoadKeys(s, a, maps, place);
    }
    if (threadIdx.x == 0) LookAhead(s, a);
    WaitProducts<0>(x1, x2, x3, pairs[0], pairs[kQuarters - 1]);
    __syncwarp();
    if (who.lane == 0) Arrive(s.freed[at]);
    if (threadIdx.x == 0) {
      Wait(s.freed[at], parity);
      LoadStage(s, at, a, maps);
    }
  }
  dot[0] += __shfl_xor_sync(0xffffffffu, dot[0], 16);
  dot[1] += __shfl_xor_sync(0xffffffffu, dot[1], 16);
  if (who.lane < 16) {
    *reinterpret_cast<float2*>(&s.state_dot[who.warp][who.channel() + 2 * who.lane]) =
        make_float2(dot[0], dot[1]);
  }
#pragma unroll
  for (int i = 0; i < kQuarters; ++i) {
    StorePairs(s, pairs[i], who.group * kQuarters + i, place.chunk.rows, a.scale, who);
  }
}

// The raw gates of the warp's rows and channels, in the order of left operands.
__device__ __forceinline__ void LoadGates(uint32_t (&raw)[2][4], const Bf16* gate, int64_t ld,
                                          int rows, const Who& who) {
  const Bf16* const from = gate + who.row() * ld + who.channel() + 2 * (who.lane % 4);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    raw[i / 4][i % 4] =
        who.row() + 8 * (i % 2) < rows
            ? *reinterpret_cast<const uint32_t*>(from + 8 * (i % 2) * ld + 8 * (i / 2))
            : 0u;
  }
}

template <int kKeyBlocks, DeltaGate kForm>
__global__ void __launch_bounds__(GradConfig<kKeyBlocks>::kThreads,
                                  GradConfig<kKeyBlocks>::kBlocksPerSm)
    ChunkGradChannelsKernel(Args a, GatedDeltaRuleInputs<Bf16> in, GradOutputs out,
                            const __grid_constant__ GradMaps maps) {
  using C = GradConfig<kKeyBlocks>;
  constexpr int kKeyDim = C::kKeyDim;
  extern __shared__ __align__(1024) unsigned char shared[];
  GradShared<kKeyBlocks>& s = *reinterpret_cast<GradShared<kKeyBlocks>*>(shared);
  const int tid = static_cast<int>(threadIdx.x);
  if (tid < kWarpSize) s.lanes[tid] = tid;
  if (tid == 0) {
    for (int i = 0; i < C::kStages; ++i) {
      Init(s.loaded[i], 1);
      Init(s.freed[i], C::kWarps);
    }
    Init(s.keys_loaded, 1);
    Init(s.keys_freed, C::kThreads);
    FenceBarrierInit();
    s.ahead = s.value_block = 0;
    FetchPlace(s, a, 0);
    FetchPlace(s, a, 1);
    WaitCopies<1>();
    for (int i = 0; i < C::kStages; ++i) {
      LoadStage(s, i, a, maps);
      LookAhead(s, a);
    }
  }
  __syncthreads();

  for (int n = 0;; ++n) {
    const GradPlace& place = s.places[n % kPlaces];
    if (place.chunk_index >= a.num_chunks) break;
    // Loaded early; no other step waits for memory outside the chip.
    float bias = 0.f, a_log = 0.f, beta = 0.f;
    if (tid < kKeyDim && in.dt_bias != nullptr) bias = in.dt_bias[place.hv * kKeyDim + tid];
    if (tid == kKeyDim && in.a_log != nullptr) a_log = in.a_log[place.hv];
    const int64_t beta_at =
        (static_cast<int64_t>(place.chunk.first) + tid) * a.value_heads + place.hv;
    const bool has_beta = tid < place.chunk.rows && out.d_beta != nullptr;
    if (has_beta) beta = ToFloatDevice(in.beta[beta_at]);

    // In the end x1 and x2 hold r dq and r dk, x3 dg.
    NarrowAccumulator x1, x2, x3;
    MultiplyStates(s, x1, x2, x3, a, maps, n);
    if (tid < kKeyDim) s.bias[tid] = bias;
    if (tid == kKeyDim) s.rate = expf(a_log);
    __syncthreads();
    Wait(s.keys_loaded, n & 1);
    if (has_beta) {
      out.d_beta[beta_at] = FromFloatDevice<Bf16>(
          BetaGradient(in.beta_form, s.diagonal[tid], s.rows[kBeta][tid], beta));
    }

    const int rows = place.chunk.rows;
    const auto gate_rate = [&]() -> GateRate {
      return {s.rate, static_cast<float>(in.lower_bound) * kLog2E};
    };
    {
      float sums[2][2][4];
      SumDecays<kKeyBlocks, kForm>(s, sums, gate_rate(), rows);
      StoreOperands(s, sums, rows);
      Sync(kChannelGradGroup + WhoAmI(s).group, kWarpgroupThreads);
      AddWithinChunk(s, x1, x2, x3, sums, rows, a.scale);
    }
    const Who who = WhoAmI(s);
    const int kb = who.key_block();
    const int64_t token_head = static_cast<int64_t>(place.chunk.first) * a.value_heads + place.hv;
    const int64_t gate_ld = static_cast<int64_t>(a.value_heads) * kKeyDim;
    {
      uint32_t raw[2][4];
      LoadGates(raw, in.gate + token_head * kKeyDim, gate_ld, rows, who);
      StoreDots(s.dots, 0, x1, s.q[kb], who);
      StoreDots(s.dots, 1, x2, s.k[kb], who);
      Sync(kChannelGradGroup + who.group, kWarpgroupThreads);
      StoreGates<kKeyBlocks, kForm>(s, x3, raw, gate_rate(), rows);
    }
    if (out.d_gate != nullptr) {
      StoreOut(out.d_gate + token_head * kKeyDim + 64 * kb, gate_ld, s.q_rows[kb], rows, who);
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
      if (tid == kKeyDim) {
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < C::kWarps; ++w) sum += s.a_log_sum[w];
        out.a_log_partials[chunk_head] = sum;
      }
    }

    if (in.l2_norm) {
      float norm[2];
      NormsOf(s, kQueryNorm, who, norm);
      FinishKeys(x1, s.dots, 0, norm, s.q[kb], who);
      NormsOf(s, kKeyNorm, who, norm);
      FinishKeys(x2, s.dots, 1, norm, s.k[kb], who);
    }
    FenceSharedWrites();  // tiles were written where the copy engine writes next
    Arrive(s.keys_freed);
    const int64_t ld = static_cast<int64_t>(a.heads) * kKeyDim;
    const int64_t key_row = place.chunk.first * ld + place.hv / a.group * kKeyDim;
    const bool first = n % a.group == 0, last = n % a.group == a.group - 1;
    if (a.group > 1) {
      const int64_t at = key_row + who.row() * ld + who.channel() + 2 * (who.lane % 4);
      AddGroup(x1, out.dq_sum + at, ld, first, last, rows, who.row());
      AddGroup(x2, out.dk_sum + at, ld, first, last, rows, who.row());
    }
    if (last && out.dq != nullptr) {
      StoreRounded(s.q_rows[kb], x1, who);
      StoreOut(out.dq + key_row + 64 * kb, ld, s.q_rows[kb], rows, who);
    }
    if (last && out.dk != nullptr) {
      StoreRounded(s.k_rows[kb], x2, who);
      StoreOut(out.dk + key_row + 64 * kb, ld, s.k_rows[kb], rows, who);
    }
  }
  WaitCopies<0>();
}

template <int kKeyBlocks, DeltaGate kForm>
void Launch(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
            const GradOutputs& out, cudaStream_t stream) {
  using C = GradConfig<kKeyBlocks>;
  const auto kernel = ChunkGradChannelsKernel<kKeyBlocks, kForm>;
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
  const unsigned blocks =
      static_cast<unsigned>(std::min<int64_t>(items, a.num_sms * C::kBlocksPerSm));
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

// Sums of the partials over chunks in a fixed order, one block per value head.
__global__ void __launch_bounds__(1024)
    SumGateGradsKernel(const float* bias_partials, const float* a_log_partials, int num_chunks,
                       int value_heads, int key_dim, float* d_a_log, float* d_dt_bias) {
  __shared__ double sums[1024];
  const int hv = static_cast<int>(blockIdx.x), tid = static_cast<int>(threadIdx.x);
  // blockIdx.y: 32 channels, or beyond them a_log. 32 slices of the chunks.
  const int slice = tid / kWarpSize, channel = blockIdx.y * kWarpSize + tid % kWarpSize;
  const bool is_a_log = channel >= key_dim;
  double sum = 0;
  if (!is_a_log) {
#pragma unroll 4
    for (int c = slice; c < num_chunks; c += 32) {
      sum += static_cast<double>(
          bias_partials[(static_cast<int64_t>(c) * value_heads + hv) * key_dim + channel]);
    }
  } else {
    for (int c = tid; c < num_chunks; c += 1024) {
      sum += static_cast<double>(a_log_partials[static_cast<int64_t>(c) * value_heads + hv]);
    }
  }
  sums[tid] = sum;
  __syncthreads();
  if (is_a_log) {
    for (int size = 512; size > 0; size /= 2) {
      if (tid < size) sums[tid] += sums[tid + size];
      __syncthreads();
    }
    if (tid == 0 && d_a_log != nullptr) d_a_log[hv] = static_cast<float>(sums[0]);
  } else if (slice == 0 && d_dt_bias != nullptr) {
    for (int i = 1; i < 32; ++i) sum += sums[i * kWarpSize + tid];
    d_dt_bias[hv * key_dim + channel] = static_cast<float>(sum);
  }
}

void LaunchKernel(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                  const GradOutputs& out, cudaStream_t stream) {
  if (a.key_blocks() == 1) return LaunchForm<1>(a, in, d_o, out, stream);
  LaunchForm<2>(a, in, d_o, out, stream);
}

}  // namespace

void ChunkGradChannels(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o,
                       const ChunkGrads& grads, cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  const int64_t keys = a.num_tokens * a.heads * a.key_dim;
  const bool sums = in.gate_form != DeltaGate::kLogDecay &&
                    (grads.d_a_log != nullptr || grads.d_dt_bias != nullptr);
  const Buffer key_sums(Device::kCuda, a.group > 1 ? 2 * keys * sizeof(float) : 0);
  const Buffer partials(Device::kCuda,
                        sums ? a.chunk_heads() * (a.key_dim + 1) * sizeof(float) : 0);
  GradOutputs out = {.dq = grads.dq,
                     .dk = grads.dk,
                     .d_beta = in.beta == nullptr ? nullptr : grads.d_beta,
                     .d_gate = grads.d_gate,
                     .dq_sum = key_sums.as<float>(),
                     .dk_sum = key_sums.as<float>() + keys};
  if (sums) {
    out.bias_partials = partials.as<float>();
    out.a_log_partials = partials.as<float>() + a.chunk_heads() * a.key_dim;
  }
  LaunchKernel(a, in, d_o, out, stream);
  if (!sums) return;
  const dim3 grid(static_cast<unsigned>(a.value_heads),
                  static_cast<unsigned>(a.key_dim / kWarpSize + 1));
  SumGateGradsKernel<<<grid, 1024, 0, stream>>>(out.bias_partials, out.a_log_partials, a.num_chunks,
                                                a.value_heads, a.key_dim, grads.d_a_log,
                                                grads.d_dt_bias);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern::sm90
