// Modules that wrap one op with its parameters.
#ifndef WYVERN_LAYERS_LINEAR_H_
#define WYVERN_LAYERS_LINEAR_H_

#include "autograd/ops/rms_norm.h"
#include "layers/packing.h"
#include "layers/parameter.h"

namespace wyvern {

// y = x W^T + b. Parameters: weight [out, in], bias [out] if asked for.
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, double initializer_range, bool bias = false);
  Var Forward(Tape& tape, const Var& x) const;  // [..., in] -> [..., out]

 private:
  Parameter* weight_;
  Parameter* bias_ = nullptr;
};

// RMS norm over the last axis. Parameter: weight [dim].
class Norm : public Module {
 public:
  Norm(int64_t dim, double eps);
  // Of x + residual, which is returned as `sum`; without a residual of x alone.
  RmsNorm::Outputs<Var> Forward(Tape& tape, const Var& x, const Var& residual = Var()) const;
  const Var& weight() const { return weight_->var; }
  double eps() const { return eps_; }

 private:
  Parameter* weight_;
  double eps_;
};

// Causal depthwise convolution, then SiLU. Parameter: weight [dim, width]; none for width 0, which
// is SiLU alone.
class ShortConvolution : public Module {
 public:
  ShortConvolution(int64_t dim, int64_t width, double initializer_range);
  // x [T, dim] -> [T, dim]. `state` [1, width - 1, dim], if given, holds the inputs before the one
  // document (undefined: zeros) and is replaced by its last ones.
  Var Forward(Tape& tape, const Var& x, const Packing& packing, Tensor* state = nullptr) const;

 private:
  Parameter* weight_ = nullptr;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_LINEAR_H_
