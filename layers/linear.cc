#include "layers/linear.h"

#include "autograd/ops/conv/short_conv.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/ops/pointwise/silu.h"
#include "autograd/parallel/context_short_conv.h"
#include "layers/mixer_cache.h"

namespace wyvern {

Linear::Linear(int64_t in, int64_t out, bool bias)
    : weight_(AddParameter(
          "weight", {.shape = {out, in}, .kind = ParameterKind::kMatrix, .init = InitNormal()})) {
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

LinearGroup::LinearGroup(const std::vector<const Linear*>& linears) {
  std::vector<Parameter*> weights, biases;
  for (const Linear* linear : linears) {
    if (linear == nullptr) continue;
    weights.push_back(linear->weight_);
    if (linear->bias_ != nullptr) biases.push_back(linear->bias_);
  }
  weight_ = ParameterGroup::Of(weights);
  if (biases.empty()) return;
  CHECK(biases.size() == weights.size(), "biases in a part of the group only");
  bias_ = ParameterGroup::Of(biases);
}

int64_t LinearGroup::Width(const std::vector<const Linear*>& linears) {
  int64_t width = 0;
  for (const Linear* linear : linears) width += linear == nullptr ? 0 : linear->weight_->shape[0];
  return width;
}

Var LinearGroup::Forward(Tape& tape, const Var& x) const {
  return tape
      .Apply<MatMul>({.x = x, .weight = weight_->var, .bias = bias_ ? bias_->var : Var()}, {})
      .y;
}

Var LinearGroup::Part(const Var& y, const Linear& first, const Linear& last) const {
  CHECK(Has(first) && Has(last), "not of this group");
  return y.Columns(first.weight_->first_row, last.weight_->first_row + last.weight_->shape[0]);
}

Norm::Norm(int64_t dim, double eps, bool zero_centered)
    : weight_(AddParameter("weight", {.shape = {dim},
                                      .kind = ParameterKind::kNorm,
                                      .init = InitConstant(zero_centered ? 0 : 1)})),
      eps_(eps),
      zero_centered_(zero_centered) {}

RmsNorm::Outputs<Var> Norm::Forward(Tape& tape, const Var& x, const Var& residual) const {
  return tape.Apply<RmsNorm>({.x = x, .residual = residual, .weight = weight_->var},
                             {.eps = eps_, .weight_offset = zero_centered_ ? 1.0 : 0.0});
}

ShortConvolution::ShortConvolution(int64_t dim, int64_t width) : dim_(dim) {
  if (width == 0) return;
  weight_ = AddParameter(
      "weight", {.shape = {dim, width}, .kind = ParameterKind::kConvolution, .init = InitNormal()});
}

ShortConvolutionGroup::ShortConvolutionGroup(
    const std::array<const ShortConvolution*, 3>& convolutions) {
  std::vector<Parameter*> weights;
  for (const ShortConvolution* convolution : convolutions) {
    dims_.push_back(convolution->dim_);
    if (convolution->weight_ != nullptr) weights.push_back(convolution->weight_);
  }
  if (!weights.empty()) weight_ = ParameterGroup::Of(weights);
}

std::array<Var, 3> ShortConvolutionGroup::Forward(Tape& tape, const Var& x, const Packing& packing,
                                                  Tensor* state) const {
  if (weight_ == nullptr) {
    std::array<Var, 3> y;
    int64_t begin = 0;
    for (size_t j = 0; j < y.size(); ++j) {
      y[j] = tape.Apply<Silu>({.x = x.Columns(begin, begin + dims_[j])}, {}).y;
      begin += dims_[j];
    }
    return y;
  }
  if (packing.context != nullptr) {
    const auto out = tape.Apply<ContextShortConv>(
        {.x = x, .weight = weight_->var},
        {.conv = {.parts = dims_, .cu_seqlens = packing.cu_seqlens}, .split = packing.context});
    return {out.y, out.y1, out.y2};
  }
  // A convolution over the current token alone carries nothing.
  const bool carry = state != nullptr && weight_->shape[1] > 1;
  const auto out = tape.Apply<ShortConv>(
      {.x = x, .weight = weight_->var, .initial_state = carry ? Var(*state) : Var()},
      {.parts = dims_,
       .cu_seqlens = packing.cu_seqlens,
       .output_final_state = carry,
       .final_state_in_place = carry && packing.step});
  if (carry) Keep(out.final_state.value(), packing.step, state);
  return {out.y, out.y1, out.y2};
}

}  // namespace wyvern
