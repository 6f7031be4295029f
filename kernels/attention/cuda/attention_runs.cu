#include <array>

#include "kernels/attention/attention_merge.h"
#include "kernels/attention/cuda/attention_runs.h"
#include "kernels/attention/cuda/cudnn_attention.h"
#include "kernels/common/common.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

__global__ void OffsetsKernel(int32_t queries, int32_t keys, int32_t* to) {
  to[0] = to[2] = 0;
  to[1] = queries;
  to[3] = keys;
}

// One document as a shape, with offsets that live as long as this object.
class Document {
 public:
  Document(const AttentionShape& like, int64_t queries, int64_t keys, StreamHandle stream)
      : cu_seqlens_{0, static_cast<int32_t>(queries), 0, static_cast<int32_t>(keys)},
        on_device_(Device::kCuda, sizeof(cu_seqlens_)),
        shape_(like) {
    OffsetsKernel<<<1, 1, 0, ToStream(stream)>>>(cu_seqlens_[1], cu_seqlens_[3],
                                                 on_device_.as<int32_t>());
    CUDA_CHECK_LAUNCH();
    shape_.forward_only = false;  // these are not divided again
    shape_.num_queries = queries;
    shape_.num_keys = keys;
    shape_.cu_seqlens_q = cu_seqlens_.data();
    shape_.cu_seqlens_k = cu_seqlens_.data() + 2;
    shape_.device_cu_seqlens_q = on_device_.as<int32_t>();
    shape_.device_cu_seqlens_k = on_device_.as<int32_t>() + 2;
  }
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;
  const AttentionShape& shape() const { return shape_; }

 private:
  std::array<int32_t, 4> cu_seqlens_;
  Buffer on_device_;
  AttentionShape shape_;
};

AttentionShape RunShape(const AttentionShape& s, int64_t queries, int64_t keys) {
  AttentionShape run = s;
  run.num_queries = queries;
  run.num_keys = keys;
  return run;
}

}  // namespace

bool AttentionRunsSupported(const AttentionShape& shape, const AttentionRuns& runs) {
  return CudnnAttentionUnmaskedSupports(RunShape(shape, runs.queries, runs.keys[0]));
}

void AttentionByRuns(const AttentionFwdParams<Bf16>& p, const AttentionRuns& runs) {
  const AttentionShape& s = p.shape;
  const int64_t T = runs.queries, H = s.num_heads, DV = s.value_dim;
  const int64_t before = s.num_keys - s.num_queries;
  size_t num_runs = 0;
  int64_t first = 0;  // key behind the runs
  while (num_runs < runs.keys.size() &&
         CudnnAttentionUnmaskedSupports(RunShape(s, T, runs.keys[num_runs]))) {
    first += runs.keys[num_runs++];
  }

  const Document tail(s, T, before + T - first, p.stream);
  AttentionFwdParams<Bf16> q = p;
  q.shape = tail.shape();
  q.k += first * s.k_stride;
  q.v += first * s.v_stride;
  AttentionFwd(CudaTag{}, q);
  // As that one leaves it.
  const bool by_cudnn =
      ChooseAttention({q.shape, DType::kBf16}, CurrentGpu()).forward == AttentionEngine::kCudnn &&
      CudnnAttentionForwardSupports(q.shape);
  const LseStrides strides = by_cudnn ? LseStrides{T, 1} : LseStrides{1, H};

  const Buffer o(Device::kCuda, T * H * DV * sizeof(Bf16)),
      lse(Device::kCuda, T * H * sizeof(float));
  int64_t key = 0;
  for (size_t i = 0; i < num_runs; ++i) {
    q.shape = RunShape(s, T, runs.keys[i]);
    q.k = p.k + key * s.k_stride;
    q.v = p.v + key * s.v_stride;
    q.o = o.as<Bf16>();
    q.lse = lse.as<float>();
    CudnnAttentionUnmasked(q);
    AttentionMerge(CudaTag{}, AttentionMergeParams<Bf16>{.num_queries = T,
                                                         .num_heads = H,
                                                         .value_dim = DV,
                                                         .strides = strides,
                                                         .added_strides = {T, 1},
                                                         .added = o.as<Bf16>(),
                                                         .added_lse = lse.as<float>(),
                                                         .o = p.o,
                                                         .lse = p.lse,
                                                         .stream = p.stream});
    key += runs.keys[i];
  }

  if (T == s.num_queries) return;
  const Document last(s, s.num_queries - T, s.num_keys, p.stream);
  q = p;
  q.shape = last.shape();
  q.q += T * s.q_stride;
  q.o += T * H * DV;
  q.lse += T * H;
  AttentionFwd(CudaTag{}, q);
}

}  // namespace wyvern
