#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/linear_attention/cuda/mamba_tokens.cuh"
#include "kernels/linear_attention/mamba_inputs.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

struct Step {
  float value, raw;  // d; dt + dt_bias
  bool open;         // the limits let the gradient through
};
template <typename Io>
__device__ __forceinline__ Step StepOf(const MambaInputsIn<Io>& in, int64_t t, int64_t h) {
  Step step;
  step.raw = ToFloatDevice(in.dt[t * in.dt_stride + h]) + in.dt_bias[h];
  const float s = step.raw > 20.f ? step.raw : log1pf(expf(step.raw));
  const float least = static_cast<float>(in.min_dt), most = static_cast<float>(in.max_dt);
  step.value = fminf(fmaxf(s, least), most);
  step.open = s >= least && s <= most;
  return step;
}

template <typename Io>
__device__ __forceinline__ float Raw(const MambaInputsIn<Io>& in, int64_t t, int64_t i) {
  const float bias = in.conv_bias == nullptr ? 0.f : in.conv_bias[i];
  return ToFloatDevice(in.conv[t * in.channels() + i]) + bias;
}

template <typename Io>
__device__ __forceinline__ float At(const Io* x, int64_t i) {
  return x == nullptr ? 0.f : ToFloatDevice(x[i]);
}

// A thread has one channel of one token.
template <typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(MambaInputsFwdParams<Io> p) {
  const MambaInputsIn<Io>& in = p.in;
  const int64_t HP = in.values(), GN = in.keys(), channels = in.channels();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t t = index / channels, i = index % channels;
  if (t >= in.num_tokens) return;
  const float raw = Raw(in, t, i), u = raw * SigmoidDevice<Io>(raw);
  if (i >= HP + GN) {
    p.q[t * GN + i - HP - GN] = FromFloatDevice<Io>(u);
  } else if (i >= HP) {
    p.k[t * GN + i - HP] = FromFloatDevice<Io>(u);
  } else {
    const int64_t h = i / in.head_dim;
    const float step = StepOf(in, t, h).value;
    p.x[t * HP + i] = FromFloatDevice<Io>(u);
    p.v[t * HP + i] = FromFloatDevice<Io>(step * u);
    if (i % in.head_dim == 0) {
      p.g[t * in.num_heads + h] = FromFloatDevice<Io>(-expf(in.a_log[h]) * step);
    }
  }
}

// A thread has one channel over a piece of the tokens, and leaves its part of d_conv_bias in
// partials [pieces, channels].
template <typename Io>
__global__ void __launch_bounds__(kThreads)
    ChannelKernel(MambaInputsBwdParams<Io> p, int64_t piece_tokens, float* partials) {
  const MambaInputsIn<Io>& in = p.in;
  const int64_t HP = in.values(), GN = in.keys(), channels = in.channels();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= channels) return;
  const int64_t begin = blockIdx.y * piece_tokens;
  const int64_t end = min(in.num_tokens, begin + piece_tokens);
  float sum = 0.f;
  for (int64_t t = begin; t < end; ++t) {
    float du;
    if (i >= HP + GN) {
      du = At(p.dq, t * GN + i - HP - GN);
    } else if (i >= HP) {
      du = At(p.dk, t * GN + i - HP);
    } else {
      du = At(p.dx, t * HP + i) + StepOf(in, t, i / in.head_dim).value * At(p.dv, t * HP + i);
    }
    const float d_conv = du * SiluSlopeDevice<Io>(Raw(in, t, i));
    p.d_conv[t * channels + i] = FromFloatDevice<Io>(d_conv);
    sum += d_conv;
  }
  partials[blockIdx.y * channels + i] = sum;
}

// A warp has one head over a piece of the tokens, and leaves its parts of d_a_log and d_dt_bias in
// partials [2, pieces, H].
template <typename Io>
__global__ void __launch_bounds__(kWarpSize)
    HeadKernel(MambaInputsBwdParams<Io> p, int64_t piece_tokens, float* partials) {
  const MambaInputsIn<Io>& in = p.in;
  const int64_t H = in.num_heads, P = in.head_dim, HP = in.values(), h = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t begin = blockIdx.y * piece_tokens;
  const int64_t end = min(in.num_tokens, begin + piece_tokens);
  const float rate = expf(in.a_log[h]);
  float d_a_log = 0.f, d_dt_bias = 0.f;
  for (int64_t t = begin; t < end; ++t) {
    float dot = 0.f;
    for (int64_t i = h * P + lane; i < (h + 1) * P; i += kWarpSize) {
      const float raw = Raw(in, t, i);
      dot += At(p.dv, t * HP + i) * raw * SigmoidDevice<Io>(raw);
    }
    dot = WarpSum(dot);
    const Step step = StepOf(in, t, h);
    const float dg = At(p.dg, t * H + h);
    const float d_dt = step.open ? (dot - rate * dg) / (1.f + expf(-step.raw)) : 0.f;
    if (lane == 0) p.d_dt[t * p.d_dt_stride + h] = FromFloatDevice<Io>(d_dt);
    d_dt_bias += d_dt;
    d_a_log -= rate * step.value * dg;
  }
  if (lane != 0) return;
  partials[blockIdx.y * H + h] = d_a_log;
  partials[(gridDim.y + blockIdx.y) * H + h] = d_dt_bias;
}

}  // namespace

template <typename Io>
void MambaInputsFwd(CudaTag, const MambaInputsFwdParams<Io>& p) {
  if (p.in.num_tokens == 0) return;
  const int64_t blocks = CeilDiv<int64_t>(p.in.num_tokens * p.in.channels(), kThreads);
  FwdKernel<Io><<<static_cast<unsigned>(blocks), kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void MambaInputsBwd(CudaTag, const MambaInputsBwdParams<Io>& p) {
  const MambaPieces pieces = MambaPiecesOf(p.in.num_tokens);
  const int64_t H = p.in.num_heads, channels = p.in.channels();
  const Buffer biases(Device::kCuda, pieces.count * channels * sizeof(float));
  const Buffer heads(Device::kCuda, 2 * pieces.count * H * sizeof(float));
  if (pieces.count > 0) {
    const cudaStream_t stream = ToStream(p.stream);
    const auto columns = static_cast<unsigned>(CeilDiv<int64_t>(channels, kThreads));
    const auto rows = static_cast<unsigned>(pieces.count);
    ChannelKernel<Io>
        <<<dim3(columns, rows), kThreads, 0, stream>>>(p, pieces.tokens, biases.as<float>());
    HeadKernel<Io><<<dim3(static_cast<unsigned>(H), rows), kWarpSize, 0, stream>>>(
        p, pieces.tokens, heads.as<float>());
    CUDA_CHECK_LAUNCH();
  }
  const auto sum = [&](const float* partials, int64_t dim, float* out) {
    SumPartials(partials, pieces.count, dim, out, /*add=*/false, p.stream);
  };
  sum(heads.as<float>(), H, p.d_a_log);
  sum(heads.as<float>() + pieces.count * H, H, p.d_dt_bias);
  if (p.d_conv_bias != nullptr) sum(biases.as<float>(), channels, p.d_conv_bias);
}

template void MambaInputsFwd(CudaTag, const MambaInputsFwdParams<float>&);
template void MambaInputsFwd(CudaTag, const MambaInputsFwdParams<Bf16>&);
template void MambaInputsBwd(CudaTag, const MambaInputsBwdParams<float>&);
template void MambaInputsBwd(CudaTag, const MambaInputsBwdParams<Bf16>&);

}  // namespace wyvern
