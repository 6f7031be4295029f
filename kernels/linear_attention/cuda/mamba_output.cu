#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/linear_attention/cuda/mamba_tokens.cuh"
#include "kernels/linear_attention/mamba_output.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

struct Element {
  float sum, gate, silu;  // o + skip x; the gate and its SiLU
};
template <typename Io>
__device__ __forceinline__ Element ElementOf(const MambaOutputIn<Io>& in, int64_t t, int64_t i) {
  const int64_t at = t * in.width() + i;
  Element e;
  e.sum = ToFloatDevice(in.o[at]) + in.skip[i / in.head_dim] * ToFloatDevice(in.x[at]);
  e.gate = ToFloatDevice(in.gate[t * in.gate_stride + i]);
  e.silu = e.gate * SigmoidDevice<Io>(e.gate);
  return e;
}

// A block has one group of one token.
template <typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(MambaOutputFwdParams<Io> p) {
  __shared__ float scratch[kThreads / kWarpSize];
  const MambaOutputIn<Io>& in = p.in;
  const int64_t HP = in.width(), W = HP / in.num_groups;
  const int64_t t = blockIdx.x / in.num_groups, first = blockIdx.x % in.num_groups * W;
  float square = 0.f;
  for (int64_t i = first + threadIdx.x; i < first + W; i += kThreads) {
    const Element e = ElementOf(in, t, i);
    square += e.sum * e.silu * e.sum * e.silu;
  }
  square = BlockSum<kThreads>(square, scratch) / static_cast<float>(W);
  const float r = rsqrtf(square + static_cast<float>(in.eps));
  for (int64_t i = first + threadIdx.x; i < first + W; i += kThreads) {
    const Element e = ElementOf(in, t, i);
    p.y[t * HP + i] = FromFloatDevice<Io>(e.sum * e.silu * r * in.weight[i]);
  }
  if (threadIdx.x == 0) p.rstd[blockIdx.x] = r;
}

// A block has one group of one token, and leaves its mean c in means [T, G].
template <typename Io>
__global__ void __launch_bounds__(kThreads) RowKernel(MambaOutputBwdParams<Io> p, float* means) {
  __shared__ float scratch[kThreads / kWarpSize];
  const MambaOutputIn<Io>& in = p.in;
  const int64_t HP = in.width(), W = HP / in.num_groups;
  const int64_t t = blockIdx.x / in.num_groups, first = blockIdx.x % in.num_groups * W;
  const float r = p.rstd[blockIdx.x];
  float c = 0.f;
  for (int64_t i = first + threadIdx.x; i < first + W; i += kThreads) {
    const Element e = ElementOf(in, t, i);
    c += ToFloatDevice(p.dy[t * HP + i]) * in.weight[i] * r * e.sum * e.silu;
  }
  c = BlockSum<kThreads>(c, scratch) / static_cast<float>(W);
  for (int64_t i = first + threadIdx.x; i < first + W; i += kThreads) {
    const int64_t at = t * HP + i;
    const Element e = ElementOf(in, t, i);
    const float dw = r * (ToFloatDevice(p.dy[at]) * in.weight[i] - r * e.sum * e.silu * c);
    const float d_o = dw * e.silu;
    p.d_gate[t * p.d_gate_stride + i] =
        FromFloatDevice<Io>(dw * e.sum * SiluSlopeDevice<Io>(e.gate));
    p.d_o[at] = FromFloatDevice<Io>(d_o);
    p.dx[at] = FromFloatDevice<Io>(in.skip[i / in.head_dim] * d_o);
  }
  if (threadIdx.x == 0) means[blockIdx.x] = c;
}

// A thread has one channel over a piece of the tokens, and leaves its parts of d_weight and d_skip
// in partials [2, pieces, HP].
template <typename Io>
__global__ void __launch_bounds__(kThreads)
    ChannelKernel(MambaOutputBwdParams<Io> p, const float* means, int64_t piece_tokens,
                  float* partials) {
  const MambaOutputIn<Io>& in = p.in;
  const int64_t HP = in.width(), G = in.num_groups;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= HP) return;
  const int64_t group = i / (HP / G), begin = blockIdx.y * piece_tokens;
  const int64_t end = min(in.num_tokens, begin + piece_tokens);
  const float weight = in.weight[i];
  float d_weight = 0.f, d_skip = 0.f;
  for (int64_t t = begin; t < end; ++t) {
    const Element e = ElementOf(in, t, i);
    const float r = p.rstd[t * G + group], n = r * e.sum * e.silu;
    const float dy = ToFloatDevice(p.dy[t * HP + i]);
    const float d_o = r * (dy * weight - n * means[t * G + group]) * e.silu;
    d_weight += dy * n;
    d_skip += d_o * ToFloatDevice(in.x[t * HP + i]);
  }
  partials[blockIdx.y * HP + i] = d_weight;
  partials[(gridDim.y + blockIdx.y) * HP + i] = d_skip;
}

// out [H] from channels [H, P]; a warp a head.
__global__ void __launch_bounds__(kWarpSize)
    HeadSumKernel(const float* channels, int64_t head_dim, float* out) {
  float sum = 0.f;
  for (int64_t i = threadIdx.x; i < head_dim; i += kWarpSize) {
    sum += channels[blockIdx.x * head_dim + i];
  }
  sum = WarpSum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

}  // namespace

template <typename Io>
void MambaOutputFwd(CudaTag, const MambaOutputFwdParams<Io>& p) {
  const int64_t blocks = p.in.num_tokens * p.in.num_groups;
  if (blocks == 0) return;
  FwdKernel<Io><<<static_cast<unsigned>(blocks), kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void MambaOutputBwd(CudaTag, const MambaOutputBwdParams<Io>& p) {
  const MambaPieces pieces = MambaPiecesOf(p.in.num_tokens);
  const int64_t HP = p.in.width(), rows = p.in.num_tokens * p.in.num_groups;
  const Buffer means(Device::kCuda, rows * sizeof(float));
  const Buffer partials(Device::kCuda, 2 * pieces.count * HP * sizeof(float));
  const Buffer by_channel(Device::kCuda, HP * sizeof(float));
  const cudaStream_t stream = ToStream(p.stream);
  if (pieces.count > 0) {
    RowKernel<Io><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(p, means.as<float>());
    const dim3 grid(static_cast<unsigned>(CeilDiv<int64_t>(HP, kThreads)),
                    static_cast<unsigned>(pieces.count));
    ChannelKernel<Io>
        <<<grid, kThreads, 0, stream>>>(p, means.as<float>(), pieces.tokens, partials.as<float>());
    CUDA_CHECK_LAUNCH();
  }
  const auto sum = [&](const float* parts, float* out) {
    SumPartials(parts, pieces.count, HP, out, /*add=*/false, p.stream);
  };
  sum(partials.as<float>(), p.d_weight);
  sum(partials.as<float>() + pieces.count * HP, by_channel.as<float>());
  HeadSumKernel<<<static_cast<unsigned>(p.in.num_heads), kWarpSize, 0, stream>>>(
      by_channel.as<float>(), p.in.head_dim, p.d_skip);
  CUDA_CHECK_LAUNCH();
}

template void MambaOutputFwd(CudaTag, const MambaOutputFwdParams<float>&);
template void MambaOutputFwd(CudaTag, const MambaOutputFwdParams<Bf16>&);
template void MambaOutputBwd(CudaTag, const MambaOutputBwdParams<float>&);
template void MambaOutputBwd(CudaTag, const MambaOutputBwdParams<Bf16>&);

}  // namespace wyvern
