// Entry of attention on the GPU: chooses an engine and hands over.
#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "kernels/attention/cuda/attention_runs.h"
#include "kernels/attention/cuda/attention_tiled.h"
#include "kernels/attention/cuda/cudnn_attention.h"
#include "kernels/common/common.cuh"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

constexpr int kRowsPerBlock = 4;

// delta[row] = do . o, one warp per row of DV elements.
template <typename Io>
__global__ void __launch_bounds__(kRowsPerBlock* kWarpSize)
    DeltaKernel(const Io* d_o, const Io* o, int64_t num_rows, int dim, float* delta) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarpSize;
  if (row >= num_rows) return;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < dim; i += kWarpSize) {
    sum += ToFloatDevice(d_o[row * dim + i]) * ToFloatDevice(o[row * dim + i]);
  }
  sum = WarpSum(sum);
  if (threadIdx.x % kWarpSize == 0) delta[row] = sum;
}

// Where the rows of a head lie: num_docs runs of `length`, from head_stride times its number on.
struct RowRuns {
  int64_t num_docs, length, doc_stride, head_stride;
};

// The largest logit of each head, one block a head, from those of its rows. With row_sum, the rows'
// sums of exponentials relative to their maxima, it also writes lse, at the same places.
__global__ void __launch_bounds__(1024) MaxLogitKernel(const float* row_max, const float* row_sum,
                                                       RowRuns runs, float* lse, float* max_logit) {
  __shared__ float warp_max[kWarpSize];
  float top = -INFINITY;
  for (int64_t n = 0; n < runs.num_docs; ++n) {
    const int64_t first = n * runs.doc_stride + blockIdx.x * runs.head_stride;
    for (int64_t i = first + threadIdx.x; i < first + runs.length; i += blockDim.x) {
      top = fmaxf(top, row_max[i]);
      if (row_sum != nullptr) lse[i] = row_max[i] + logf(row_sum[i]);
    }
  }
  top = WarpMax(top);
  if (threadIdx.x % kWarpSize == 0) warp_max[threadIdx.x / kWarpSize] = top;
  __syncthreads();
  if (threadIdx.x >= kWarpSize) return;
  top = WarpMax(warp_max[threadIdx.x]);
  if (threadIdx.x == 0) max_logit[blockIdx.x] = top;
}

template <typename Io>
bool FitsVectors(const AttentionShape& s, std::initializer_list<const void*> pointers) {
  constexpr int64_t kPer = 16 / sizeof(Io);
  if (s.key_dim % kPer != 0 || s.value_dim % kPer != 0) return false;
  for (const void* p : pointers) {
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  }
  return true;
}

attention::Launch MakeLaunch(const AttentionPlan& plan, bool vectors, AttentionShape* s) {
  attention::Launch launch;
  launch.padded_dim = plan.tiles.padded_dim;
  launch.vectors = vectors;
  launch.lse = {1, s->num_heads};
  if (plan.forward == AttentionEngine::kCudnn) launch.lse = {EqualLength(*s), 1};
  for (int64_t n = 0; n < s->num_docs; ++n) {
    launch.max_queries = std::max(launch.max_queries, s->cu_seqlens_q[n + 1] - s->cu_seqlens_q[n]);
    launch.max_keys =
        std::max(launch.max_keys, static_cast<int>(s->KeyEnd(n)) - s->cu_seqlens_k[n]);
  }
  // The device may know of more keys than the host.
  if (s->key_ends != nullptr) launch.max_keys = static_cast<int>(s->num_keys);
  if (s->window >= launch.max_keys) s->window = 0;
  return launch;
}

// The choice, after asking cuDNN whether it supports the shape. The answer never changes, so that
// the backward knows what the forward ran.
AttentionPlan Choose(const AttentionShape& s, DType io) {
  AttentionPlan plan = ChooseAttention({s, io}, CurrentGpu());
  if (plan.runs.queries > 0 && !AttentionRunsSupported(s, plan.runs)) plan.runs = {};
  if (plan.forward == AttentionEngine::kCudnn && !CudnnAttentionForwardSupports(s)) {
    return TiledAttention({s, io});
  }
  return plan;
}

// See MaxLogitKernel.
template <typename Io>
void LaunchMaxLogit(const AttentionFwdParams<Io>& p, const float* row_max, const float* row_sum,
                    const RowRuns& runs) {
  MaxLogitKernel<<<static_cast<unsigned>(p.shape.num_heads), 1024, 0, ToStream(p.stream)>>>(
      row_max, row_sum, runs, p.lse, p.max_logit);
  CUDA_CHECK_LAUNCH();
}

}  // namespace

template <typename Io>
void AttentionFwd(CudaTag, const AttentionFwdParams<Io>& params) {
  AttentionFwdParams<Io> p = params;
  const AttentionPlan plan = Choose(p.shape, kDTypeOf<Io>);
  NotePlan("attention", plan);
  const int64_t num_rows = p.shape.num_queries * p.shape.num_heads;
  if constexpr (std::is_same_v<Io, Bf16>) {
    if (plan.runs.queries > 0) return AttentionByRuns(p, plan.runs);
    if (plan.forward == AttentionEngine::kCudnn && !p.shape.max_logit) {
      return CudnnAttentionForward(p, nullptr, nullptr);
    }
    if (plan.forward == AttentionEngine::kCudnn) {
      const Buffer row_max(Device::kCuda, num_rows * sizeof(float));
      const Buffer row_sum(Device::kCuda, num_rows * sizeof(float));
      CudnnAttentionForward(p, row_max.as<float>(), row_sum.as<float>());
      const int64_t length = EqualLength(p.shape);
      LaunchMaxLogit(p, row_max.as<float>(), row_sum.as<float>(),
                     {.num_docs = p.shape.num_docs,
                      .length = length,
                      .doc_stride = p.shape.num_heads * length,
                      .head_stride = length});
      return;
    }
  }
  const bool vectors = FitsVectors<Io>(p.shape, {p.q, p.k, p.v});
  attention::Launch launch = MakeLaunch(plan, vectors, &p.shape);
  if (!p.shape.max_logit) return attention::TiledForward(p, launch);
  const Buffer row_max(Device::kCuda, num_rows * sizeof(float));
  launch.row_max = row_max.as<float>();
  attention::TiledForward(p, launch);
  LaunchMaxLogit(p, launch.row_max, nullptr,
                 {.num_docs = 1,
                  .length = p.shape.num_queries,
                  .doc_stride = 0,
                  .head_stride = p.shape.num_queries});
}

template <typename Io>
void AttentionBwd(CudaTag, const AttentionBwdParams<Io>& params) {
  AttentionBwdParams<Io> p = params;
  AttentionPlan plan = Choose(p.shape, kDTypeOf<Io>);
  if constexpr (std::is_same_v<Io, Bf16>) {
    if (plan.backward == AttentionEngine::kCudnn && CudnnAttentionBackwardSupports(p, plan.group)) {
      NotePlan("attention", plan);
      return CudnnAttentionBackward(p, plan.group);
    }
  }
  plan.backward = AttentionEngine::kTiled;
  NotePlan("attention", plan);
  const int64_t num_rows = p.shape.num_queries * p.shape.num_heads;
  const Buffer delta(Device::kCuda, num_rows * sizeof(float));
  DeltaKernel<<<static_cast<unsigned>(CeilDiv<int64_t>(num_rows, kRowsPerBlock)),
                kRowsPerBlock * kWarpSize, 0, ToStream(p.stream)>>>(
      p.d_o, p.o, num_rows, static_cast<int>(p.shape.value_dim), delta.as<float>());
  CUDA_CHECK_LAUNCH();
  const bool vectors = FitsVectors<Io>(p.shape, {p.q, p.k, p.v, p.d_o});
  const attention::Launch launch = MakeLaunch(plan, vectors, &p.shape);
  attention::TiledBackward(p, delta.as<float>(), launch);
}

template void AttentionFwd(CudaTag, const AttentionFwdParams<float>&);
template void AttentionFwd(CudaTag, const AttentionFwdParams<Bf16>&);
template void AttentionBwd(CudaTag, const AttentionBwdParams<float>&);
template void AttentionBwd(CudaTag, const AttentionBwdParams<Bf16>&);

}  // namespace wyvern
