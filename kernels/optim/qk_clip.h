// QK-clip (arXiv 2507.20534): after an update, heads whose logits have grown too large get smaller
// queries and keys, by their weights.
//
//   gamma_h = min(1, tau / S_h)            S_h the largest logit of head h in the step
//   W[h, r] = W[h, r] gamma_h^exponent     for rows r in [begin, end) of the head's rows
//
// With exponent 1/2 of both a head's queries and its keys, or 1 of the queries alone, its logits
// become gamma_h times what they were.
#ifndef WYVERN_KERNELS_OPTIM_QK_CLIP_H_
#define WYVERN_KERNELS_OPTIM_QK_CLIP_H_

#include <vector>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// Neighbouring elements [first, first + num_elements) of a row-major W of H heads.
template <typename Io>
struct QkClipTensor {
  using Acc = AccOf<Io>;
  int64_t num_elements = 0, first = 0;
  int64_t head_elements = 0;   // of a head: its rows times the columns
  int64_t begin = 0, end = 0;  // of these, the ones that are scaled
  double exponent = 0;
  const Acc* max_logit = nullptr;  // S [H]; -infinity where a head had no logit
  Acc* master = nullptr;           // [num_elements]
  Io* copy = nullptr;              // [num_elements] the new master rounded, or null
};

template <typename Io>
struct QkClipParams {
  std::vector<QkClipTensor<Io>> tensors;  // structs on the host, memory on the device
  double tau = 0;
  const int32_t* finite = nullptr;  // [1] on the device: where 0 nothing changes; null: clip
  StreamHandle stream = nullptr;
};

// y[i] = max(y[i], x[i])
template <typename Acc>
struct MaxIntoParams {
  int64_t num_elements = 0;
  const Acc* x = nullptr;
  Acc* y = nullptr;
  StreamHandle stream = nullptr;
};

template <typename Io>
void QkClip(CpuTag, const QkClipParams<Io>& p);
template <typename Acc>
void MaxInto(CpuTag, const MaxIntoParams<Acc>& p);
template <typename Io>
void QkClip(CudaTag, const QkClipParams<Io>& p);
template <typename Acc>
void MaxInto(CudaTag, const MaxIntoParams<Acc>& p);
template <typename Io>
void QkClip(MetaTag, const QkClipParams<Io>& p);
template <typename Acc>
void MaxInto(MetaTag, const MaxIntoParams<Acc>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPTIM_QK_CLIP_H_
