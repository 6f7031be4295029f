// From the gradients of unit-length q and k, beta and log decays to those of the op's inputs.
// Every sum has a fixed order: over a group's value heads, and over tokens in two stages.
#include "kernels/delta_rule/cuda/gates.cuh"
#include "kernels/delta_rule/cuda/passes.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern::delta {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxSlabs = 256;  // parts that share a sum over tokens
constexpr int kMinSlabRows = 32;

// One warp per row of [T, H, K]; blockIdx.y: q or k. With n = r x, r = (sum x^2 + eps)^-1/2, and
// given r dn: dx = r dn - (r dn n) n.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    KeyGradKernel(Args<T> a, const T* q, const T* k, bool l2_norm, float eps, T* dq, T* dk) {
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
  T* out = blockIdx.y == 0 ? dq : dk;
  if (row >= a.num_tokens * a.heads || out == nullptr) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const T* x = (blockIdx.y == 0 ? q : k) + row * a.key_dim;
  const float* r_dn = (blockIdx.y == 0 ? a.dq : a.dk) + row * a.group * a.key_pad();
  out += row * a.key_dim;
  float value[8], grad[8] = {};
  float square = 0, dot = 0;
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    const int d = 2 * lane + 32 * i;
    LoadPair(x, d, a.key_dim, value[i], value[i + 1]);
    if (d >= a.key_dim) continue;
    for (int j = 0; j < a.group; ++j) {
      const float2 part = *reinterpret_cast<const float2*>(r_dn + j * a.key_pad() + d);
      grad[i] += part.x;
      grad[i + 1] += part.y;
    }
    square += value[i] * value[i] + value[i + 1] * value[i + 1];
    dot += value[i] * grad[i] + value[i + 1] * grad[i + 1];
  }
  float along = 0.f;
  if (l2_norm) {
    const float r = rsqrtf(WarpSum(square) + eps);
    along = WarpSum(dot) * r * r;
  }
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    const int d = 2 * lane + 32 * i;
    const Vec<T, 2> pair = {FromFloatDevice<T>(grad[i] - along * value[i]),
                            FromFloatDevice<T>(grad[i + 1] - along * value[i + 1])};
    if (a.key_dim % 2 == 0) {
      if (d < a.key_dim) *reinterpret_cast<Vec<T, 2>*>(out + d) = pair;
    } else {
      if (d < a.key_dim) out[d] = pair.v[0];
      if (d + 1 < a.key_dim) out[d + 1] = pair.v[1];
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    BetaGradKernel(const T* beta, DeltaBeta form, const float* d_beta, int64_t n, T* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) out[i] = FromFloatDevice<T>(BetaBackward(form, d_beta[i], ToFloatDevice(beta[i])));
}

struct GateTensors {
  DeltaGate form;
  float lower_bound;
  const float *a_log, *dt_bias, *dg;
  int value_heads, channels, padded_channels;  // of dg: 1, 1 or K, Kp
};

// A column is one value head's channel. A thread goes through one column of one slab of tokens and
// leaves the slab's sums in partials[0 or 1][slab][column]: of dx, and of d_a_log.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    GateGradKernel(GateTensors g, const T* gate, int64_t num_tokens, int64_t slab_rows, T* d_gate,
                   double* partials) {
  const int columns = g.value_heads * g.channels;
  const int column = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (column >= columns) return;
  const int hv = column / g.channels, channel = column % g.channels;
  const float a_log = g.a_log == nullptr ? 0.f : g.a_log[hv];
  const float bias = g.dt_bias == nullptr ? 0.f : g.dt_bias[column];
  const int64_t begin = blockIdx.y * slab_rows;
  const int64_t end = min(begin + slab_rows, num_tokens);
  double bias_sum = 0, a_log_sum = 0;
#pragma unroll 4
  for (int64_t t = begin; t < end; ++t) {
    const float dg = g.dg[(t * g.value_heads + hv) * g.padded_channels + channel];
    const float raw = ToFloatDevice(gate[t * columns + column]);
    const GateGradient grad = LogDecayBackward(g.form, dg, raw, a_log, bias, g.lower_bound);
    if (d_gate != nullptr) d_gate[t * columns + column] = FromFloatDevice<T>(grad.d_x);
    bias_sum += static_cast<double>(grad.d_x);
    a_log_sum += static_cast<double>(grad.d_a_log);
  }
  if (partials == nullptr) return;
  partials[static_cast<int64_t>(blockIdx.y) * columns + column] = bias_sum;
  partials[(static_cast<int64_t>(gridDim.y) + blockIdx.y) * columns + column] = a_log_sum;
}

// One warp per value head: d_dt_bias of its channels, then d_a_log.
__global__ void __launch_bounds__(kThreads)
    GateSumsKernel(const double* partials, int slabs, int value_heads, int channels, float* d_a_log,
                   float* d_dt_bias) {
  __shared__ double warp_sums[kThreads / kWarpSize];
  const int hv = static_cast<int>(blockIdx.x), warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, columns = value_heads * channels;
  const auto sum_column = [&](const double* from) {
    double sum = 0;
    for (int slab = lane; slab < slabs; slab += kWarpSize) {
      sum += from[static_cast<int64_t>(slab) * columns];
    }
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    }
    return sum;
  };
  double a_log_sum = 0;
  for (int channel = warp; channel < channels; channel += kThreads / kWarpSize) {
    const int column = hv * channels + channel;
    const double bias = sum_column(partials + column);
    if (d_dt_bias != nullptr && lane == 0) d_dt_bias[column] = static_cast<float>(bias);
    a_log_sum += sum_column(partials + static_cast<int64_t>(slabs) * columns + column);
  }
  if (lane == 0) warp_sums[warp] = a_log_sum;
  __syncthreads();
  if (threadIdx.x == 0 && d_a_log != nullptr) {
    double sum = 0;
    for (int i = 0; i < kThreads / kWarpSize; ++i) sum += warp_sums[i];
    d_a_log[hv] = static_cast<float>(sum);
  }
}

unsigned Blocks(int64_t n) { return static_cast<unsigned>(CeilDiv<int64_t>(n, kThreads)); }

}  // namespace

template <typename T>
void InputGrad(const Args<T>& a, const GatedDeltaRuleBwdParams<T>& p, cudaStream_t stream) {
  const GatedDeltaRuleInputs<T>& in = p.in;
  const int64_t token_heads = a.num_tokens * a.value_heads;
  if (token_heads > 0 && (p.dq != nullptr || p.dk != nullptr)) {
    const dim3 grid(Blocks(a.num_tokens * a.heads * kWarpSize), 2);
    KeyGradKernel<T><<<grid, kThreads, 0, stream>>>(a, in.q, in.k, in.l2_norm,
                                                    static_cast<float>(in.l2_norm_eps), p.dq, p.dk);
    CUDA_CHECK_LAUNCH();
  }
  if (token_heads > 0 && p.d_beta != nullptr && in.beta != nullptr) {
    BetaGradKernel<T><<<Blocks(token_heads), kThreads, 0, stream>>>(in.beta, in.beta_form, a.d_beta,
                                                                    token_heads, p.d_beta);
    CUDA_CHECK_LAUNCH();
  }
  if (a.decay == DeltaDecay::kNone) return;
  GateGradients(in, a.dg, a.decay == DeltaDecay::kPerHead ? 1 : a.key_pad(), p.d_gate, p.d_a_log,
                p.d_dt_bias, stream);
}

template <typename T>
void GateGradients(const GatedDeltaRuleInputs<T>& in, const float* dg, int padded_channels,
                   T* d_gate, float* d_a_log, float* d_dt_bias, cudaStream_t stream) {
  const bool sums = d_a_log != nullptr || d_dt_bias != nullptr;
  if (d_gate == nullptr && !sums) return;
  const int value_heads = static_cast<int>(in.num_value_heads);
  const int channels = in.decay == DeltaDecay::kPerHead ? 1 : static_cast<int>(in.key_dim);
  const int64_t columns = static_cast<int64_t>(value_heads) * channels;
  const GateTensors tensors = {.form = in.gate_form,
                               .lower_bound = static_cast<float>(in.lower_bound),
                               .a_log = in.a_log,
                               .dt_bias = in.dt_bias,
                               .dg = dg,
                               .value_heads = value_heads,
                               .channels = channels,
                               .padded_channels = padded_channels};
  const int64_t slabs = std::clamp<int64_t>(in.num_tokens / kMinSlabRows, 1, kMaxSlabs);
  const Buffer partials(Device::kCuda, sums ? 2 * slabs * columns * sizeof(double) : 0);
  const dim3 grid(Blocks(columns), static_cast<unsigned>(slabs));
  GateGradKernel<T><<<grid, kThreads, 0, stream>>>(tensors, in.gate, in.num_tokens,
                                                   CeilDiv<int64_t>(in.num_tokens, slabs), d_gate,
                                                   sums ? partials.as<double>() : nullptr);
  CUDA_CHECK_LAUNCH();
  if (!sums) return;
  GateSumsKernel<<<static_cast<unsigned>(value_heads), kThreads, 0, stream>>>(
      partials.as<double>(), static_cast<int>(slabs), value_heads, channels, d_a_log, d_dt_bias);
  CUDA_CHECK_LAUNCH();
}

template void InputGrad(const Args<float>&, const GatedDeltaRuleBwdParams<float>&, cudaStream_t);
template void InputGrad(const Args<Bf16>&, const GatedDeltaRuleBwdParams<Bf16>&, cudaStream_t);
template void GateGradients(const GatedDeltaRuleInputs<float>&, const float*, int, float*, float*,
                            float*, cudaStream_t);
template void GateGradients(const GatedDeltaRuleInputs<Bf16>&, const float*, int, Bf16*, float*,
                            float*, cudaStream_t);

}  // namespace wyvern::delta
