// cuDNN's fused attention in bf16, for documents of one length; chosen in
// kernels/attention/attention_plan.h. Plans are built once per shape, at first use, and kept.
#ifndef WYVERN_KERNELS_ATTENTION_CUDA_CUDNN_ATTENTION_H_
#define WYVERN_KERNELS_ATTENTION_CUDA_CUDNN_ATTENTION_H_

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_plan.h"

namespace wyvern {

// Whether cuDNN has a forward, and a deterministic backward, for the shape and strides on this GPU.
// The first call builds the plan; the reason of a refusal is printed once.
bool CudnnAttentionForwardSupports(const AttentionShape& shape);
bool CudnnAttentionBackwardSupports(const AttentionBwdParams<Bf16>& p, const AttentionGroup& group);

// The same of one document whose num_queries queries see all its num_keys keys; lse is [H, S].
bool CudnnAttentionUnmaskedSupports(const AttentionShape& shape);
void CudnnAttentionUnmasked(const AttentionFwdParams<Bf16>& p);

// For supported shapes. lse is [N, H, S]. With shape.max_logit the forward writes, instead of lse
// and max_logit, each row's largest logit and its sum of exponentials relative to that, [N, H, S];
// otherwise both are null. The backward makes one call per group.
void CudnnAttentionForward(const AttentionFwdParams<Bf16>& p, float* row_max, float* row_sum);
void CudnnAttentionBackward(const AttentionBwdParams<Bf16>& p, const AttentionGroup& group);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_CUDA_CUDNN_ATTENTION_H_
