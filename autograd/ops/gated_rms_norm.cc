#include "autograd/ops/gated_rms_norm.h"

namespace wyvern {

GatedRmsNorm::Outputs<Tensor> GatedRmsNorm::Forward(const Inputs<Tensor>& in, const Params& params,
                                                    Saved* saved) {
  const int64_t V = in.x.dim(-1);
  CHECK(in.weight.shape() == Shape{V}, "weight ", ToString(in.weight.shape()), " for x ",
        ToString(in.x.shape()));
  CHECK(!in.gate.defined() || in.gate.shape() == in.x.shape(), "gate ", ToString(in.gate.shape()),
        " for x ", ToString(in.x.shape()));
  Shape rows(in.x.shape().begin(), in.x.shape().end() - 1);
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  const Tensor rstd = Tensor::Empty(std::move(rows), AccDType(in.x.dtype()), in.x.device());
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GatedRmsNormFwd(device, GatedRmsNormFwdParams<Io>{.num_rows = rstd.numel(),
                                                      .dim = V,
                                                      .eps = params.eps,
                                                      .activation = params.activation,
                                                      .x = in.x.data<Io>(),
                                                      .gate = in.gate.data<Io>(),
                                                      .weight = in.weight.data<Acc>(),
                                                      .y = out.y.data<Io>(),
                                                      .rstd = rstd.data<Acc>(),
                                                      .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params, .rstd = rstd};
  return out;
}

GatedRmsNorm::Inputs<Tensor> GatedRmsNorm::Backward(const Saved& saved,
                                                    const Outputs<Tensor>& d_out,
                                                    const Inputs<GradRequest>&) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(in.x), .weight = Tensor::EmptyLike(in.weight)};
  if (in.gate.defined()) grad.gate = Tensor::EmptyLike(in.gate);
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GatedRmsNormBwd(device, GatedRmsNormBwdParams<Io>{.num_rows = saved.rstd.numel(),
                                                      .dim = in.x.dim(-1),
                                                      .activation = saved.params.activation,
                                                      .x = in.x.data<Io>(),
                                                      .gate = in.gate.data<Io>(),
                                                      .weight = in.weight.data<Acc>(),
                                                      .rstd = saved.rstd.data<Acc>(),
                                                      .dy = d_out.y.data<Io>(),
                                                      .dx = grad.x.data<Io>(),
                                                      .d_gate = grad.gate.data<Io>(),
                                                      .d_weight = grad.weight.data<Acc>(),
                                                      .stream = ComputeStream()});
  });
  return grad;
}

Cost GatedRmsNorm::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  const bool gated = in.gate.defined();
  return {.forward_bytes = bytes * (gated ? 3 : 2), .backward_bytes = bytes * (gated ? 5 : 3)};
}

}  // namespace wyvern
