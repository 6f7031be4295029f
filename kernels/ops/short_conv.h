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
// T packed tokens, D channels, W taps (1 to kMaxShortConvWidth), N documents of any length, zero
// too. Document n is [cu_seqlens[n], cu_seqlens[n + 1]); cu_seqlens[0] = 0, cu_seqlens[N] = T.
#ifndef WYVERN_KERNELS_OPS_SHORT_CONV_H_
#define WYVERN_KERNELS_OPS_SHORT_CONV_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/dispatch.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

inline constexpr int64_t kMaxShortConvWidth = 8;

template <typename Io>
struct ShortConvFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, num_documents = 0, dim = 0, width = 0;
  bool silu = true;
  const int32_t* cu_seqlens = nullptr;  // [N + 1]
  const Io* x = nullptr;                // [T, D]
  const Acc* weight = nullptr;          // [D, W]
  const Io* initial_state = nullptr;    // [N, W-1, D] or null: zeros
  Io* y = nullptr;                      // [T, D]
  Io* final_state = nullptr;            // [N, W-1, D] or null: not wanted
  StreamHandle stream = nullptr;
};

template <typename Io>
struct ShortConvBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, num_documents = 0, dim = 0, width = 0;
  bool silu = true;
  const int32_t* cu_seqlens = nullptr;  // [N + 1]
  const Io* x = nullptr;                // [T, D]
  const Acc* weight = nullptr;          // [D, W]
  const Io* initial_state = nullptr;    // [N, W-1, D] or null
  const Io* dy = nullptr;               // [T, D] or null: 0
  const Io* d_final_state = nullptr;    // [N, W-1, D] or null: 0
  Io* dx = nullptr;                     // [T, D]
  Acc* d_weight = nullptr;              // [D, W], written
  Io* d_initial_state = nullptr;        // [N, W-1, D] or null: not wanted
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

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPS_SHORT_CONV_H_
