// From the projections of Mamba-2 (arXiv 2405.21060) to what its recurrence takes, which is gated
// linear attention with a decay per head.
//
//   u = silu(conv + conv_bias)                     [x | B | C]
//   s = softplus(dt + dt_bias);  d = s, held within [min_dt, max_dt]      the step of a head
//   v = d x      k = B      q = C      g = -exp(a_log) d
//
// T tokens, H heads of P channels, G groups of N: H P + 2 G N channels of conv. Row-major; rows of
// dt lie dt_stride elements apart (they may be columns of a wider tensor), their gradients
// likewise.
//
// Backward, with du = [dx + d dv | dk | dq]:
//   d_conv = du silu'(conv + conv_bias)           d_conv_bias = sum_t d_conv
//   ds     = sum_p dv x - exp(a_log) dg, or 0 where s lies outside of the limits
//   d_dt   = ds sigmoid(dt + dt_bias)             d_dt_bias = sum_t d_dt
//   d_a_log = sum_t dg g
#ifndef WYVERN_KERNELS_LINEAR_ATTENTION_MAMBA_INPUTS_H_
#define WYVERN_KERNELS_LINEAR_ATTENTION_MAMBA_INPUTS_H_

#include <limits>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The op's inputs, shared by both directions.
template <typename Io>
struct MambaInputsIn {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0;                 // T
  int64_t num_heads = 0, head_dim = 0;    // H, P
  int64_t num_groups = 0, state_dim = 0;  // G, N
  int64_t dt_stride = 0;
  double min_dt = 0, max_dt = std::numeric_limits<double>::infinity();
  const Io* conv = nullptr;        // [T, HP + 2 GN]
  const Acc* conv_bias = nullptr;  // [HP + 2 GN] or null: zeros
  const Io* dt = nullptr;          // [T, H]
  const Acc* a_log = nullptr;      // [H]
  const Acc* dt_bias = nullptr;    // [H]

  constexpr int64_t values() const { return num_heads * head_dim; }
  constexpr int64_t keys() const { return num_groups * state_dim; }
  constexpr int64_t channels() const { return values() + 2 * keys(); }
};

template <typename Io>
struct MambaInputsFwdParams {
  MambaInputsIn<Io> in;
  Io* x = nullptr;  // [T, H, P]
  Io* v = nullptr;  // [T, H, P]
  Io* k = nullptr;  // [T, G, N]
  Io* q = nullptr;  // [T, G, N]
  Io* g = nullptr;  // [T, H]
  StreamHandle stream = nullptr;
};

// Gradients are written, not added.
template <typename Io>
struct MambaInputsBwdParams {
  using Acc = AccOf<Io>;
  MambaInputsIn<Io> in;
  int64_t d_dt_stride = 0;
  const Io* dx = nullptr;  // each of the forward's shape, or null: zeros
  const Io* dv = nullptr;
  const Io* dk = nullptr;
  const Io* dq = nullptr;
  const Io* dg = nullptr;
  Io* d_conv = nullptr;        // [T, HP + 2 GN]
  Acc* d_conv_bias = nullptr;  // [HP + 2 GN]; null without a bias
  Io* d_dt = nullptr;          // [T, H]
  Acc* d_a_log = nullptr;      // [H]
  Acc* d_dt_bias = nullptr;    // [H]
  StreamHandle stream = nullptr;
};

template <typename Io>
void MambaInputsFwd(CpuTag, const MambaInputsFwdParams<Io>& p);
template <typename Io>
void MambaInputsBwd(CpuTag, const MambaInputsBwdParams<Io>& p);
template <typename Io>
void MambaInputsFwd(CudaTag, const MambaInputsFwdParams<Io>& p);
template <typename Io>
void MambaInputsBwd(CudaTag, const MambaInputsBwdParams<Io>& p);
template <typename Io>
void MambaInputsFwd(MetaTag, const MambaInputsFwdParams<Io>& p);
template <typename Io>
void MambaInputsBwd(MetaTag, const MambaInputsBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_LINEAR_ATTENTION_MAMBA_INPUTS_H_
