#include "layers/linear.h"

#include "autograd/ops/matmul.h"
#include "autograd/ops/short_conv.h"
#include "autograd/ops/silu.h"

namespace wyvern {

Linear::Linear(int64_t in, int64_t out, double initializer_range, bool bias)
    : weight_(AddParameter("weight", {.shape = {out, in},
                                      .kind = ParameterKind::kMatrix,
                                      .init = InitNormal(initializer_range)})) {
  if (bias) {
    bias_ = AddParameter("bias",
                         {.shape = {out}, .kind = ParameterKind::kBias, .init = InitConstant(0)});
  }
}

Var Linear::Forward(Tape& tape, const Var& x) const {
  return tape
      .Apply<MatMul>({.x = x, .weight = weight_->var, .bias = bias_ ? bias_->var : Var()}, {})
      .y;
}

Norm::Norm(int64_t dim, double eps)
    : weight_(AddParameter(
          "weight", {.shape = {dim}, .kind = ParameterKind::kNorm, .init = InitConstant(1)})),
      eps_(eps) {}

RmsNorm::Outputs<Var> Norm::Forward(Tape& tape, const Var& x, const Var& residual) const {
  return tape.Apply<RmsNorm>({.x = x, .residual = residual, .weight = weight_->var}, {.eps = eps_});
}

ShortConvolution::ShortConvolution(int64_t dim, int64_t width, double initializer_range) {
  if (width == 0) return;
  weight_ = AddParameter("weight", {.shape = {dim, width},
                                    .kind = ParameterKind::kConvolution,
                                    .init = InitNormal(initializer_range)});
}

Var ShortConvolution::Forward(Tape& tape, const Var& x, const Packing& packing,
                              Tensor* state) const {
  if (weight_ == nullptr) return tape.Apply<Silu>({.x = x}, {}).y;
  // A convolution over the current token alone carries nothing.
  const bool carry = state != nullptr && weight_->value.dim(1) > 1;
  const auto out = tape.Apply<ShortConv>(
      {.x = x, .weight = weight_->var, .initial_state = carry ? Var(*state) : Var()},
      {.cu_seqlens = packing.cu_seqlens, .output_final_state = carry});
  if (carry) *state = out.final_state.value();
  return out.y;
}

}  // namespace wyvern
