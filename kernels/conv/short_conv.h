// Causal depthwise convolution along each document, with a carried state.
//
//   e   = [initial_state; x of the document]         W-1 rows of history, then the inputs
//   u_t = sum_{i<W} weight[:, i] e[t + i]            t counts from the document's start
//   y_t = silu(u_t) or u_t
//   final_state = the last W-1 rows of e
//
// Backward, with du_t = dy_t silu'(u_t):
//   d_weight[:, i] = sum_t du_t e[t + i]
//   d_e[j] = sum_{i<W, 0<=j-i<len} weight[:, i] du_{j-i}  (+ d_final_state[j - len] where j >= len)
//
// Rows of x lie x_stride elements apart (it may be columns of a wider tensor), those of dx
// dx_stride. The channels of y are divided into parts, each a tensor of its own: q, k and v of one
// projection.
//
// T packed tokens, D channels, W taps (1 to kMaxShortConvWidth), N documents of any length, zero
// too. Document n is [cu_seqlens[n], cu_seqlens[n + 1]); cu_seqlens[0] = 0, cu_seqlens[N] = T.
#ifndef WYVERN_KERNELS_CONV_SHORT_CONV_H_
#define WYVERN_KERNELS_CONV_SHORT_CONV_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

inline constexpr int64_t kMaxShortConvWidth = 8;

// Part j holds channels [begin[j], begin[j + 1]), row-major [T, begin[j + 1] - begin[j]].
inline constexpr int kMaxShortConvParts = 3;
template <typename T>
struct ShortConvParts {
  int num = 0;
  int64_t begin[kMaxShortConvParts + 1] = {};
  T* data[kMaxShortConvParts] = {};
};

template <typename Io>
struct ShortConvFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, num_documents = 0, dim = 0, width = 0;
  bool silu = true;
  const int32_t* cu_seqlens = nullptr;  // [N + 1]
  int64_t x_stride = 0;
  const Io* x = nullptr;              // [T, D]
  const Acc* weight = nullptr;        // [D, W]
  const Io* initial_state = nullptr;  // [N, W-1, D] or null: zeros
  ShortConvParts<Io> y;               // [T, D]
  Io* final_state = nullptr;          // [N, W-1, D] or null: not wanted; may be initial_state
  StreamHandle stream = nullptr;
};

template <typename Io>
struct ShortConvBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, num_documents = 0, dim = 0, width = 0;
  bool silu = true;
  const int32_t* cu_seqlens = nullptr;  // [N + 1]
  int64_t x_stride = 0, dx_stride = 0;
  const Io* x = nullptr;              // [T, D]
  const Acc* weight = nullptr;        // [D, W]
  const Io* initial_state = nullptr;  // [N, W-1, D] or null
  ShortConvParts<const Io> dy;        // [T, D]; a part may be null: 0
  const Io* d_final_state = nullptr;  // [N, W-1, D] or null: 0
  Io* dx = nullptr;                   // [T, D]
  Acc* d_weight = nullptr;            // [D, W], written or, if so asked, added to
  bool add_d_weight = false;
  Io* d_initial_state = nullptr;  // [N, W-1, D] or null: not wanted
  StreamHandle stream = nullptr;
};

template <typename Io>
void ShortConvFwd(CpuTag, const ShortConvFwdParams<Io>& p);
template <typename Io>
void ShortConvBwd(CpuTag, const ShortConvBwdParams<Io>& p);
template <typename Io>
void ShortConvFwd(CudaTag, const ShortConvFwdParams<Io>& p);
template <typename Io>
void ShortConvBwd(CudaTag, const ShortConvBwdParams<Io>& p);
template <typename Io>
void ShortConvFwd(MetaTag, const ShortConvFwdParams<Io>& p);
template <typename Io>
void ShortConvBwd(MetaTag, const ShortConvBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_CONV_SHORT_CONV_H_
