// The output of Mamba-2 (arXiv 2405.21060): a skip, a gate, then the norm of groups of channels.
//
//   w = (o + skip x) silu(gate)      y = w (mean(w^2) + eps)^-1/2 * weight
//
// T tokens, H heads of P channels with a skip each, G groups of H P / G channels with a mean each.
// Row-major; rows of the gate lie gate_stride elements apart (they may be columns of a wider
// tensor), their gradients likewise. Statistics and sums in Acc, one rounding to Io.
//
// Backward, with r = (mean(w^2) + eps)^-1/2, n = r w and c = mean(dy weight n):
//   dw = r (dy weight - n c)     d_weight = sum_t dy n     d_gate = dw (o + skip x) silu'(gate)
//   d_o = dw silu(gate)          dx = skip d_o             d_skip = sum of d_o x
#ifndef WYVERN_KERNELS_LINEAR_ATTENTION_MAMBA_OUTPUT_H_
#define WYVERN_KERNELS_LINEAR_ATTENTION_MAMBA_OUTPUT_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The op's inputs, shared by both directions.
template <typename Io>
struct MambaOutputIn {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, num_heads = 0, head_dim = 0, num_groups = 0;  // T, H, P, G
  int64_t gate_stride = 0;
  double eps = 0;
  const Io* o = nullptr;        // [T, H, P]
  const Io* x = nullptr;        // [T, H, P]
  const Io* gate = nullptr;     // [T, HP]
  const Acc* skip = nullptr;    // [H]
  const Acc* weight = nullptr;  // [HP]

  constexpr int64_t width() const { return num_heads * head_dim; }
};

template <typename Io>
struct MambaOutputFwdParams {
  MambaOutputIn<Io> in;
  Io* y = nullptr;            // [T, HP]
  AccOf<Io>* rstd = nullptr;  // [T, G] r, for the backward
  StreamHandle stream = nullptr;
};

// Gradients are written, not added.
template <typename Io>
struct MambaOutputBwdParams {
  using Acc = AccOf<Io>;
  MambaOutputIn<Io> in;
  int64_t d_gate_stride = 0;
  const Acc* rstd = nullptr;  // [T, G]
  const Io* dy = nullptr;     // [T, HP]
  Io* d_o = nullptr;          // [T, H, P]
  Io* dx = nullptr;           // [T, H, P]
  Io* d_gate = nullptr;       // [T, HP]
  Acc* d_skip = nullptr;      // [H]
  Acc* d_weight = nullptr;    // [HP]
  StreamHandle stream = nullptr;
};

template <typename Io>
void MambaOutputFwd(CpuTag, const MambaOutputFwdParams<Io>& p);
template <typename Io>
void MambaOutputBwd(CpuTag, const MambaOutputBwdParams<Io>& p);
template <typename Io>
void MambaOutputFwd(CudaTag, const MambaOutputFwdParams<Io>& p);
template <typename Io>
void MambaOutputBwd(CudaTag, const MambaOutputBwdParams<Io>& p);
template <typename Io>
void MambaOutputFwd(MetaTag, const MambaOutputFwdParams<Io>& p);
template <typename Io>
void MambaOutputBwd(MetaTag, const MambaOutputBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_LINEAR_ATTENTION_MAMBA_OUTPUT_H_
