#include "autograd/ops/attention/rope.h"

#include "kernels/attention/rope.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// Into `place` if that is defined.
Tensor Rotate(const Tensor& x, const Rope::Params& params, bool inverse, const Tensor& place) {
  const int64_t D = x.dim(2);
  const int64_t B = params.rotary_begin;
  const int64_t R = params.rotary_dim == 0 ? D - B : params.rotary_dim;
  CHECK(R % 2 == 0 && B >= 0 && R >= 0 && B + R <= D, "rotary_dim ", R, " from ", B,
        " on of a head of ", D);
  CHECK(params.positions.shape() == Shape{x.dim(0)}, "positions ",
        ToString(params.positions.shape()), " for x ", ToString(x.shape()));
  Tensor y = place.defined() ? place : Tensor::EmptyLike(x);
  Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    RopeRotate(device, RopeParams<Io>{.num_tokens = x.dim(0),
                                      .num_heads = x.dim(1),
                                      .head_dim = D,
                                      .rotary_begin = B,
                                      .rotary_dim = R,
                                      .theta = params.theta,
                                      .inverse = inverse,
                                      .positions = params.positions.data<int32_t>(),
                                      .x_stride = x.row_stride(),
                                      .y_stride = y.row_stride(),
                                      .x = x.columns<Io>(),
                                      .y = y.columns<Io>(),
                                      .stream = ComputeStream()});
  });
  return y;
}

}  // namespace

Rope::Outputs<Tensor> Rope::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  if (saved != nullptr) *saved = {.params = params};
  return {.y = Rotate(in.x, params, /*inverse=*/false, params.in_place ? in.x : Tensor())};
}

Rope::Inputs<Tensor> Rope::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                    const Inputs<GradRequest>& want) {
  return {.x = Rotate(d_out.y, saved.params, /*inverse=*/true, want.x.place)};
}

Cost Rope::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
