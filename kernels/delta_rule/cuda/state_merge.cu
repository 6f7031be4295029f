#include "kernels/common/common.cuh"
#include "kernels/delta_rule/state_merge.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;

// A thread per element: the matrices of a layer are a few MB, once per layer and direction.
__global__ void __launch_bounds__(kThreads) MergeKernel(StateMergeParams<float> p) {
  const int64_t K = p.key_dim, V = p.value_dim;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= p.num_heads * K * V) return;
  const int64_t v = index % V, i = index / V % K, head = index / (V * K);
  const float* map = p.map + head * K * K + (p.transpose ? i : i * K);
  const int64_t step = p.transpose ? K : 1;
  const float* state = p.state + head * K * V + v;
  float sum = 0;
  for (int64_t j = 0; j < K; ++j) sum += map[j * step] * state[j * V];
  p.out[index] = sum + p.add[index];
}

__global__ void __launch_bounds__(kThreads) IdentityKernel(StateIdentityParams<float> p) {
  const int64_t K = p.key_dim;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= p.num_heads * K * K) return;
  p.out[index] = index % K == index / K % K ? 1.f : 0.f;
}

unsigned NumBlocks(int64_t num_elements) {
  return static_cast<unsigned>(CeilDiv<int64_t>(num_elements, kThreads));
}

}  // namespace

template <>
void StateMerge(CudaTag, const StateMergeParams<float>& p) {
  const unsigned blocks = NumBlocks(p.num_heads * p.key_dim * p.value_dim);
  if (blocks == 0) return;
  MergeKernel<<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

template <>
void StateIdentity(CudaTag, const StateIdentityParams<float>& p) {
  const unsigned blocks = NumBlocks(p.num_heads * p.key_dim * p.key_dim);
  if (blocks == 0) return;
  IdentityKernel<<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
  CUDA_CHECK_LAUNCH();
}

}  // namespace wyvern
