#include <cmath>

#include "kernels/common/multi_tensor.cuh"
#include "kernels/optim/adamw.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;  // elements of an access
constexpr int64_t kChunk = kThreads * kWidth * 8;

template <typename Io>
struct Entry {
  float* master;
  const float* grad;
  float* m;
  float* v;
  Io* copy;
  int64_t num_elements;
  float keep;  // 1 - lr weight_decay
  unsigned first_block;
  bool vectorise;
};

struct Constants {
  float beta1, beta2, rest1, rest2, eps;
  float rate;         // lr / (1 - beta1^step)
  float correction2;  // 1 / (1 - beta2^step)
  const float* grad_scale;
  const int32_t* finite;
};

template <int N, typename Io>
__device__ __forceinline__ void Update(const Entry<Io>& e, const Constants& c, float scale,
                                       int64_t i) {
  float master[N], grad[N], m[N], v[N];
  LoadFloats(e.master + i, master);
  LoadFloats(e.grad + i, grad);
  LoadFloats(e.m + i, m);
  LoadFloats(e.v + i, v);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float g = grad[j] * scale;
    m[j] = c.beta1 * m[j] + c.rest1 * g;
    v[j] = c.beta2 * v[j] + c.rest2 * g * g;
    master[j] = master[j] * e.keep - c.rate * m[j] / (sqrtf(v[j] * c.correction2) + c.eps);
  }
  StoreFloats(e.master + i, master);
  StoreFloats(e.m + i, m);
  StoreFloats(e.v + i, v);
  if (e.copy != nullptr) StoreFloats(e.copy + i, master);
}

template <typename Io>
__global__ void __launch_bounds__(kThreads)
    UpdateKernel(const __grid_constant__ TensorTable<Entry<Io>> table, Constants c) {
  if (c.finite != nullptr && *c.finite == 0) return;
  const float scale = c.grad_scale == nullptr ? 1.f : *c.grad_scale;
  const Entry<Io>& e = FindTensor(table, blockIdx.x);
  const int64_t begin = (blockIdx.x - e.first_block) * kChunk;
  const int64_t end = min(e.num_elements, begin + kChunk);
  const int64_t vector_end = e.vectorise ? begin + (end - begin) / kWidth * kWidth : begin;
#pragma unroll 2
  for (int64_t i = begin + threadIdx.x * kWidth; i < vector_end; i += kThreads * kWidth) {
    Update<kWidth>(e, c, scale, i);
  }
  for (int64_t i = vector_end + threadIdx.x; i < end; i += kThreads) Update<1>(e, c, scale, i);
}

}  // namespace

template <typename Io>
void AdamW(CudaTag, const AdamWParams<Io>& p) {
  const double step = static_cast<double>(p.step);
  Constants c;
  c.beta1 = static_cast<float>(p.beta1);
  c.beta2 = static_cast<float>(p.beta2);
  c.rest1 = static_cast<float>(1 - p.beta1);
  c.rest2 = static_cast<float>(1 - p.beta2);
  c.eps = static_cast<float>(p.eps);
  c.rate = static_cast<float>(p.lr / (1 - std::pow(p.beta1, step)));
  c.correction2 = static_cast<float>(1 / (1 - std::pow(p.beta2, step)));
  c.grad_scale = p.grad_scale;
  c.finite = p.finite;
  const auto make = [&](int64_t i) {
    const AdamWTensor<Io>& t = p.tensors[i];
    Entry<Io> e;
    e.master = t.master;
    e.grad = t.grad;
    e.m = t.m;
    e.v = t.v;
    e.copy = t.copy;
    e.num_elements = t.num_elements;
    e.keep = static_cast<float>(1 - p.lr * t.weight_decay);
    e.vectorise = Aligned16(t.master, t.grad, t.m, t.v, t.copy);
    return e;
  };
  ForEachTable<Entry<Io>>(static_cast<int64_t>(p.tensors.size()), kChunk, make,
                          [&](const TensorTable<Entry<Io>>& table, unsigned num_blocks) {
                            UpdateKernel<<<num_blocks, kThreads, 0, ToStream(p.stream)>>>(table, c);
                            CUDA_CHECK_LAUNCH();
                          });
}

template void AdamW(CudaTag, const AdamWParams<float>&);
template void AdamW(CudaTag, const AdamWParams<Bf16>&);

}  // namespace wyvern
