// Modules that wrap one op with its parameters.
#ifndef WYVERN_LAYERS_LINEAR_H_
#define WYVERN_LAYERS_LINEAR_H_

#include <array>
#include <memory>
#include <vector>

#include "autograd/ops/norm/rms_norm.h"
#include "layers/packing.h"
#include "layers/parameter.h"

namespace wyvern {

// y = x W^T + b. Parameters: weight [out, in], bias [out] if asked for.
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, bool bias = false);
  Linear(int64_t in, int64_t out, double) = delete;  // a number is no bias
  Var Forward(Tape& tape, const Var& x) const;       // [..., in] -> [..., out]
  Parameter* weight() const { return weight_; }
  Parameter* bias() const { return bias_; }  // null: none

 private:
  friend class LinearGroup;
  Parameter* weight_;
  Parameter* bias_ = nullptr;
};

// Several Linears of one x as one matmul; each remains a module of its owner, who must not call
// its Forward on another path.
class LinearGroup {
 public:
  // Fuses the non-null linears in this order. Requires at least one; either all or none have a
  // bias.
  explicit LinearGroup(const std::vector<const Linear*>& linears);
  // Columns of such a group's results.
  static int64_t Width(const std::vector<const Linear*>& linears);
  bool Has(const Linear& linear) const { return linear.weight_->group == weight_; }
  // [T, in] -> [T, sum of their out]
  Var Forward(Tape& tape, const Var& x) const;
  // Columns of Forward's result: those of the first Linear to those of the last one.
  Var Part(const Var& y, const Linear& first, const Linear& last) const;
  Var Part(const Var& y, const Linear& linear) const { return Part(y, linear, linear); }

 private:
  std::shared_ptr<ParameterGroup> weight_, bias_;
};

// RMS norm over the last axis. Parameter: weight [dim]; if it is centred at zero, weight + 1
// scales.
class Norm : public Module {
 public:
  Norm(int64_t dim, double eps, bool zero_centered = false);
  // Normalises x + residual, which is returned as `sum`; without a residual, x alone.
  RmsNorm::Outputs<Var> Forward(Tape& tape, const Var& x, const Var& residual = Var()) const;
  const Var& weight() const { return weight_->var; }
  double eps() const { return eps_; }

 private:
  Parameter* weight_;
  double eps_;
  bool zero_centered_;
};

// The taps of a causal depthwise convolution. Parameter: weight [dim, width]; none for width 0.
class ShortConvolution : public Module {
 public:
  ShortConvolution(int64_t dim, int64_t width);

 private:
  friend class ShortConvolutionGroup;
  int64_t dim_;
  Parameter* weight_ = nullptr;
};

// Convolution and SiLU of q, k and v in one pass; width 0 is SiLU alone.
class ShortConvolutionGroup {
 public:
  explicit ShortConvolutionGroup(const std::array<const ShortConvolution*, 3>& convolutions);
  // x [T, sum of their dims] -> [T, dim] of each. `state` [1, width - 1, sum], if given, holds the
  // inputs before the one document (undefined: zeros) and is replaced by its last ones.
  std::array<Var, 3> Forward(Tape& tape, const Var& x, const Packing& packing,
                             Tensor* state = nullptr) const;

 private:
  std::vector<int64_t> dims_;
  std::shared_ptr<ParameterGroup> weight_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_LINEAR_H_
