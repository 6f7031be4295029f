// RMS norm of each head's output, then a gate (arXiv 2412.06464, 2510.26692 eq. 10).
//
//   y = x (mean(x^2) + eps)^-1/2 * weight * act(gate)       act(z) = z sigmoid(z) or sigmoid(z)
//
// R rows (tokens x heads) of V elements. Statistics and products in Acc, one rounding to Io.
#ifndef WYVERN_KERNELS_OPS_GATED_RMS_NORM_H_
#define WYVERN_KERNELS_OPS_GATED_RMS_NORM_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/dispatch.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

enum class GateActivation { kSilu, kSigmoid };

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPS_GATED_RMS_NORM_H_
