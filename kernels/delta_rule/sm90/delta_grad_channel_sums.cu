// The entry of GradChannels and its sums over tokens.
#include "kernels/delta_rule/sm90/delta_grad_channel.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern::sm90 {
namespace {

// Sums of the partials over chunks in a fixed order, one block per value head.
__global__ void __launch_bounds__(1024)
    SumKernel(const float* bias_partials, const float* a_log_partials, int num_chunks,
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

}  // namespace

void GradChannels(const Args& a, const GatedDeltaRuleInputs<Bf16>& in, const Bf16* d_o, Bf16* dq,
                  Bf16* dk, Bf16* d_beta, Bf16* d_gate, float* d_a_log, float* d_dt_bias,
                  cudaStream_t stream) {
  if (a.chunk_heads() == 0) return;
  const int64_t keys = a.num_tokens * a.heads * a.key_dim;
  const bool sums =
      in.gate_form != DeltaGate::kLogDecay && (d_a_log != nullptr || d_dt_bias != nullptr);
  const Buffer key_sums(Device::kCuda, a.group > 1 ? 2 * keys * sizeof(float) : 0);
  const Buffer partials(Device::kCuda,
                        sums ? a.chunk_heads() * (a.key_dim + 1) * sizeof(float) : 0);
  GradOutputs out = {.dq = dq,
                     .dk = dk,
                     .d_beta = in.beta == nullptr ? nullptr : d_beta,
                     .d_gate = d_gate,
                     .dq_sum = key_sums.as<float>(),
                     .dk_sum = key_sums.as<float>() + keys};
  if (sums) {
    out.bias_partials = partials.as<float>();
    out.a_log_partials = partials.as<float>() + a.chunk_heads() * a.key_dim;
  }
  LaunchGradChannels(a, in, d_o, out, stream);
  if (!sums) return;
  const dim3 grid(static_cast<unsigned>(a.value_heads),
                  static_cast<unsigned>(a.key_dim / kWarpSize + 1));
  SumKernel<<<grid, 1024, 0, stream>>>(out.bias_partials, out.a_log_partials, a.num_chunks,
                                       a.value_heads, a.key_dim, d_a_log, d_dt_bias);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern::sm90
