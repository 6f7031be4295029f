#include "kernels/common/multi_tensor.cuh"
#include "kernels/optim/qk_clip.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = kThreads * 16;

template <typename Io>
struct Entry {
  float* master;
  Io* copy;
  const float* max_logit;
  int64_t num_elements, first, head_elements, begin, end;
  float exponent;
  unsigned first_block;
};

// Heads that are not clipped, as nearly all are, cost no access to their weights.
template <typename Io>
__global__ void __launch_bounds__(kThreads)
    QkClipKernel(const __grid_constant__ TensorTable<Entry<Io>> table, float tau,
                 const int32_t* finite) {
  if (finite != nullptr && *finite == 0) return;
  const Entry<Io>& e = FindTensor(table, blockIdx.x);
  const int64_t begin = (blockIdx.x - e.first_block) * kChunk;
  const int64_t end = min(e.num_elements, begin + kChunk);
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const int64_t head = (e.first + i) / e.head_elements;
    const int64_t in_head = e.first + i - head * e.head_elements;
    const float largest = e.max_logit[head];
    if (!(largest > tau) || in_head < e.begin || in_head >= e.end) continue;
    const float value = e.master[i] * powf(tau / largest, e.exponent);
    e.master[i] = value;
    if (e.copy != nullptr) e.copy[i] = FromFloatDevice<Io>(value);
  }
}

struct MaxIntoMap {
  MaxIntoParams<float> p;
  template <int N>
  __device__ void At(int64_t i) const {
#pragma unroll
    for (int j = 0; j < N; ++j) p.y[i + j] = fmaxf(p.y[i + j], p.x[i + j]);
  }
};

}  // namespace

template <typename Io>
void QkClip(CudaTag, const QkClipParams<Io>& p) {
  const auto make = [&](int64_t i) {
    const QkClipTensor<Io>& t = p.tensors[i];
    Entry<Io> e;
    e.master = t.master;
    e.copy = t.copy;
    e.max_logit = t.max_logit;
    e.num_elements = t.num_elements;
    e.first = t.first;
    e.head_elements = t.head_elements;
    e.begin = t.begin;
    e.end = t.end;
    e.exponent = static_cast<float>(t.exponent);
    return e;
  };
  ForEachTable<Entry<Io>>(static_cast<int64_t>(p.tensors.size()), kChunk, make,
                          [&](const TensorTable<Entry<Io>>& table, unsigned num_blocks) {
                            QkClipKernel<<<num_blocks, kThreads, 0, ToStream(p.stream)>>>(
                                table, static_cast<float>(p.tau), p.finite);
                            CUDA_CHECK_LAUNCH();
                          });
}

template <>
void MaxInto(CudaTag, const MaxIntoParams<float>& p) {
  LaunchMap<float>(MaxIntoMap{p}, p.num_elements, /*vectorise=*/false, p.stream);
}

template void QkClip(CudaTag, const QkClipParams<float>&);
template void QkClip(CudaTag, const QkClipParams<Bf16>&);

}  // namespace wyvern
