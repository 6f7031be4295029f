// The cross-entropy of a slice of rows of the vocabulary head's logits; the op multiplies out one
// slice after another (kernels/matmul/matmul.h).
//
//   lse[t]        = log sum_v exp(logits[t, v])
//   token_loss[t] = lse[t] - logits[t, target_t], 0 where target_t < 0
//   loss          = sum_t token_loss[t] / denominator
//   d_logits[t]   = (exp(logits[t] - lse[t]) - onehot(target_t)) (d_loss / denominator +
//                   d_token_loss[t]), 0 where target_t < 0
//
// The forward can give d_logits along with the loss, for d_loss = 1 and d_token_loss = 0.
//
// R rows of the slice, V vocabulary, T all rows. A target >= V is a caller's fault: the CPU stops;
// on the GPU its token_loss is NaN, which the check for finite losses finds.
#ifndef WYVERN_KERNELS_HEAD_LINEAR_CROSS_ENTROPY_H_
#define WYVERN_KERNELS_HEAD_LINEAR_CROSS_ENTROPY_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct CrossEntropyFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, vocab = 0;
  double denominator = 1;            // of d_logits
  const Acc* logits = nullptr;       // [R, V]
  const int32_t* targets = nullptr;  // [R]
  Acc* lse = nullptr;                // [R]
  Acc* token_loss = nullptr;         // [R]
  Io* d_logits = nullptr;            // [R, V] or null: not wanted
  StreamHandle stream = nullptr;
};

template <typename Io>
struct CrossEntropyBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, vocab = 0;
  double denominator = 1;
  const Acc* logits = nullptr;        // [R, V]
  const int32_t* targets = nullptr;   // [R]
  const Acc* lse = nullptr;           // [R]
  const Acc* d_loss = nullptr;        // [1] or null: 0
  const Acc* d_token_loss = nullptr;  // [R] or null: 0
  Io* d_logits = nullptr;             // [R, V]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct MeanLossParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0;
  double denominator = 1;
  const Acc* token_loss = nullptr;  // [T]
  Acc* loss = nullptr;              // [1], summed in fp64 in a fixed order
  StreamHandle stream = nullptr;
};

template <typename Io>
void CrossEntropyFwd(CpuTag, const CrossEntropyFwdParams<Io>& p);
template <typename Io>
void CrossEntropyBwd(CpuTag, const CrossEntropyBwdParams<Io>& p);
template <typename Io>
void MeanLoss(CpuTag, const MeanLossParams<Io>& p);
template <typename Io>
void CrossEntropyFwd(CudaTag, const CrossEntropyFwdParams<Io>& p);
template <typename Io>
void CrossEntropyBwd(CudaTag, const CrossEntropyBwdParams<Io>& p);
template <typename Io>
void MeanLoss(CudaTag, const MeanLossParams<Io>& p);
template <typename Io>
void CrossEntropyFwd(MetaTag, const CrossEntropyFwdParams<Io>& p);
template <typename Io>
void CrossEntropyBwd(MetaTag, const CrossEntropyBwdParams<Io>& p);
template <typename Io>
void MeanLoss(MetaTag, const MeanLossParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_HEAD_LINEAR_CROSS_ENTROPY_H_
