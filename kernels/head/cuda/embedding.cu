#include <algorithm>
#include <cub/device/device_radix_sort.cuh>

#include "kernels/common/vector.cuh"
#include "kernels/head/embedding.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 128;

// Block (t, c) copies columns [c, c + 1) * kThreads * N of token t.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(EmbeddingFwdParams<Io> p) {
  const int64_t t = blockIdx.x;
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int64_t id = p.ids[t];
  float row[N];
  if (id >= 0 && id < p.num_ids) {
    LoadFloats(p.weight + id * p.dim + i, row);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) row[j] = nanf("");
  }
  StoreFloats(p.y + t * p.dim + i, row);
}

// Sort keys: the id, or V for a token without gradient.
__global__ void __launch_bounds__(kThreads)
    KeysKernel(const int32_t* ids, int64_t num_tokens, int64_t num_ids, int64_t padding_id,
               uint32_t* keys, int32_t* tokens) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (t >= num_tokens) return;
  const int64_t id = ids[t];
  const bool counts = id >= 0 && id < num_ids && id != padding_id;
  keys[t] = static_cast<uint32_t>(counts ? id : num_ids);
  tokens[t] = static_cast<int32_t>(t);
}

// Position blockIdx.x of the sorted tokens; the first of each id sums that id's rows.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads)
    BwdKernel(EmbeddingBwdParams<Io> p, const uint32_t* __restrict__ keys,
              const int32_t* __restrict__ tokens) {
  const int64_t begin = blockIdx.x;
  const uint32_t id = keys[begin];
  if (id == p.num_ids || (begin > 0 && keys[begin - 1] == id)) return;
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  int64_t end = begin + 1, above = p.num_tokens;  // the end of the id's run lies between them
  while (end < above) {
    const int64_t middle = (end + above) / 2;
    if (keys[middle] == id) {
      end = middle + 1;
    } else {
      above = middle;
    }
  }
  float sum[N] = {};
#pragma unroll 4
  for (int64_t j = begin; j < end; ++j) {
    float dy[N];
    LoadFloats(p.dy + tokens[j] * p.dim + i, dy);
#pragma unroll
    for (int c = 0; c < N; ++c) sum[c] += dy[c];
  }
  const int64_t at = id * p.dim + i;
  if (p.d_weight != nullptr) {
    StoreFloats(p.d_weight + at, sum);
  } else {
    float old[N];
    LoadFloats(p.d_weight_into + at, old);
#pragma unroll
    for (int c = 0; c < N; ++c) sum[c] += old[c];
    StoreFloats(p.d_weight_into + at, sum);
  }
}

template <int N>
dim3 Grid(int64_t num_tokens, int64_t dim) {
  return dim3(static_cast<unsigned>(num_tokens),
              static_cast<unsigned>(CeilDiv<int64_t>(dim, kThreads * N)));
}

// fn takes the number of elements of an access as an integral_constant.
template <typename Io, typename F>
void VisitVec(bool vectorise, F&& fn) {
  if (vectorise) return fn(std::integral_constant<int, kVecSize<Io>>());
  fn(std::integral_constant<int, 1>());
}

}  // namespace

template <typename Io>
void EmbeddingFwd(CudaTag, const EmbeddingFwdParams<Io>& p) {
  if (p.num_tokens == 0 || p.dim == 0) return;
  const bool vectorise = p.dim % kVecSize<Io> == 0 && Aligned16(p.weight, p.y);
  VisitVec<Io>(vectorise, [&](auto n) {
    constexpr int N = decltype(n)::value;
    FwdKernel<N><<<Grid<N>(p.num_tokens, p.dim), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void EmbeddingBwd(CudaTag, const EmbeddingBwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  if (p.d_weight != nullptr) {
    CUDA_CHECK(cudaMemsetAsync(p.d_weight, 0, p.num_ids * p.dim * sizeof(Io), stream));
  }
  if (p.num_tokens == 0 || p.dim == 0) return;
  const int64_t T = p.num_tokens;
  const Buffer keys(Device::kCuda, 2 * T * sizeof(uint32_t));
  const Buffer tokens(Device::kCuda, 2 * T * sizeof(int32_t));
  uint32_t* sorted_keys = keys.as<uint32_t>() + T;
  int32_t* sorted_tokens = tokens.as<int32_t>() + T;
  KeysKernel<<<static_cast<unsigned>(CeilDiv<int64_t>(T, kThreads)), kThreads, 0, stream>>>(
      p.ids, T, p.num_ids, p.padding_id, keys.as<uint32_t>(), tokens.as<int32_t>());
  CUDA_CHECK_LAUNCH();
  int num_bits = 1;
  while ((p.num_ids >> num_bits) != 0) ++num_bits;
  // The sort is stable: tokens of one id stay in order.
  size_t scratch_bytes = 0;
  const auto sort = [&](void* scratch) {
    CUDA_CHECK(cub::DeviceRadixSort::SortPairs(scratch, scratch_bytes, keys.as<uint32_t>(),
                                               sorted_keys, tokens.as<int32_t>(), sorted_tokens, T,
                                               0, num_bits, stream));
  };
  sort(nullptr);
  const Buffer scratch(Device::kCuda, std::max<size_t>(1, scratch_bytes));
  sort(scratch.data());
  const bool vectorise = p.dim % kVecSize<Io> == 0 && Aligned16(p.dy, p.d_weight, p.d_weight_into);
  VisitVec<Io>(vectorise, [&](auto n) {
    constexpr int N = decltype(n)::value;
    BwdKernel<N><<<Grid<N>(T, p.dim), kThreads, 0, stream>>>(p, sorted_keys, sorted_tokens);
  });
  CUDA_CHECK_LAUNCH();
}

template void EmbeddingFwd(CudaTag, const EmbeddingFwdParams<float>&);
template void EmbeddingFwd(CudaTag, const EmbeddingFwdParams<Bf16>&);
template void EmbeddingBwd(CudaTag, const EmbeddingBwdParams<float>&);
template void EmbeddingBwd(CudaTag, const EmbeddingBwdParams<Bf16>&);

}  // namespace wyvern
