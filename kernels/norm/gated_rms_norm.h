// RMS norm of each head's output, then a gate (arXiv 2412.06464, 2510.26692 eq. 10).
//
//   y = x (mean(x^2) + eps)^-1/2 * weight * act(gate)       act(z) = z sigmoid(z) or sigmoid(z)
//
// R rows of V elements: H heads of each token. The gates of a token's heads follow one another;
// those of the next begin gate_stride elements later (they may be columns of a wider tensor), their
// gradients likewise. Statistics and products in Acc, one rounding to Io.
// Backward, with r = (mean(x^2) + eps)^-1/2, n = r x, g = act(gate) and c = mean(dy g weight n):
//   dx = r (dy g weight - n c)     d_gate = dy n weight act'(gate)     d_weight = sum of dy g n
#ifndef WYVERN_KERNELS_NORM_GATED_RMS_NORM_H_
#define WYVERN_KERNELS_NORM_GATED_RMS_NORM_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

enum class GateActivation { kSilu, kSigmoid };

template <typename Io>
struct GatedRmsNormFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  int64_t heads = 1, gate_stride = 0;  // H
  double eps = 0;
  GateActivation activation = GateActivation::kSilu;
  const Io* x = nullptr;        // [R, V]
  const Io* gate = nullptr;     // [R, V] or null: act(gate) = 1
  const Acc* weight = nullptr;  // [V]
  Io* y = nullptr;              // [R, V]
  Acc* rstd = nullptr;          // [R] r, for the backward
  StreamHandle stream = nullptr;
};

template <typename Io>
struct GatedRmsNormBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  int64_t heads = 1, gate_stride = 0, d_gate_stride = 0;  // H
  GateActivation activation = GateActivation::kSilu;
  const Io* x = nullptr;        // [R, V]
  const Io* gate = nullptr;     // [R, V] or null
  const Acc* weight = nullptr;  // [V]
  const Acc* rstd = nullptr;    // [R]
  const Io* dy = nullptr;       // [R, V]
  Io* dx = nullptr;             // [R, V]
  Io* d_gate = nullptr;         // [R, V]; null without a gate
  Acc* d_weight = nullptr;      // [V], written or, if so asked, added to
  bool add_d_weight = false;
  Io* y = nullptr;  // [R, V] what the forward gave, computed again; or null
  StreamHandle stream = nullptr;
};

template <typename Io>
void GatedRmsNormFwd(CpuTag, const GatedRmsNormFwdParams<Io>& p);
template <typename Io>
void GatedRmsNormBwd(CpuTag, const GatedRmsNormBwdParams<Io>& p);
template <typename Io>
void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<Io>& p);
template <typename Io>
void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<Io>& p);
template <typename Io>
void GatedRmsNormFwd(MetaTag, const GatedRmsNormFwdParams<Io>& p);
template <typename Io>
void GatedRmsNormBwd(MetaTag, const GatedRmsNormBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_NORM_GATED_RMS_NORM_H_
