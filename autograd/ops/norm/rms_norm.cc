#include "autograd/ops/norm/rms_norm.h"

#include "kernels/norm/rms_norm.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

RmsNorm::Outputs<Tensor> RmsNorm::Forward(const Inputs<Tensor>& in, const Params& params,
                                          Saved* saved) {
  const int64_t D = in.x.dim(-1), T = D == 0 ? 0 : in.x.numel() / D;
  CHECK(in.weight.shape() == Shape{D}, "weight ", ToString(in.weight.shape()), " for x ",
        ToString(in.x.shape()));
  CHECK(!in.residual.defined() || in.residual.shape() == in.x.shape());
  Outputs<Tensor> out;
  out.y = Tensor::EmptyLike(in.x);
  if (in.residual.defined()) out.sum = Tensor::EmptyLike(in.x);
  Tensor rstd = Tensor::Empty({T}, AccDType(in.x.dtype()), in.x.device());
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    RmsNormFwd(device, RmsNormFwdParams<Io>{.num_rows = T,
                                            .dim = D,
                                            .eps = params.eps,
                                            .weight_offset = params.weight_offset,
                                            .x = in.x.data<Io>(),
                                            .residual = in.residual.data<Io>(),
                                            .weight = in.weight.data<Acc>(),
                                            .y = out.y.data<Io>(),
                                            .sum = out.sum.data<Io>(),
                                            .rstd = rstd.data<Acc>(),
                                            .stream = ComputeStream()});
  });
  if (saved != nullptr) {
    *saved = {.params = params,
              .s = in.residual.defined() ? out.sum : in.x,
              .weight = in.weight,
              .rstd = rstd,
              .has_residual = in.residual.defined()};
  }
  return out;
}

void RmsNorm::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  CHECK(!out.sum.defined(), "the sum is kept");
  Dispatch(saved.s.device(), saved.s.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    RmsNormFwd(device, RmsNormFwdParams<Io>{.num_rows = saved.rstd.numel(),
                                            .dim = saved.s.dim(-1),
                                            .eps = saved.params.eps,
                                            .weight_offset = saved.params.weight_offset,
                                            .x = saved.s.data<Io>(),
                                            .weight = saved.weight.data<Acc>(),
                                            .y = out.y.data<Io>(),
                                            .rstd = saved.rstd.data<Acc>(),
                                            .stream = ComputeStream()});
  });
}

RmsNorm::Inputs<Tensor> RmsNorm::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                          const Inputs<GradRequest>& want) {
  return BackwardAndRecompute(saved, d_out, want, {});
}

RmsNorm::Inputs<Tensor> RmsNorm::BackwardAndRecompute(const Saved& saved,
                                                      const Outputs<Tensor>& d_out,
                                                      const Inputs<GradRequest>& want,
                                                      const Outputs<Tensor>& out) {
  Inputs<Tensor> grad;
  if (!d_out.y.defined()) {  // only the sum went on
    if (out.y.defined()) Recompute(saved, out);
    grad.x = grad.residual = d_out.sum;
    return grad;
  }
  grad.x = Tensor::EmptyLike(saved.s);
  const auto target = want.weight.WriteOrAdd(saved.weight);
  const Tensor& d_weight = target.first;
  const bool add = target.second;
  if (!want.weight.into.defined()) grad.weight = d_weight;
  const int64_t D = saved.s.dim(-1);
  Dispatch(saved.s.device(), saved.s.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    RmsNormBwd(device, RmsNormBwdParams<Io>{.num_rows = saved.rstd.numel(),
                                            .dim = D,
                                            .weight_offset = saved.params.weight_offset,
                                            .s = saved.s.data<Io>(),
                                            .weight = saved.weight.data<Acc>(),
                                            .rstd = saved.rstd.data<Acc>(),
                                            .dy = d_out.y.data<Io>(),
                                            .d_sum = d_out.sum.data<Io>(),
                                            .ds = grad.x.data<Io>(),
                                            .d_weight = d_weight.template data<Acc>(),
                                            .add_d_weight = add,
                                            .y = out.y.data<Io>(),
                                            .stream = ComputeStream()});
  });
  if (saved.has_residual) grad.residual = grad.x;  // both terms of the sum get the same gradient
  return grad;
}

Cost RmsNorm::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  const int streams = in.residual.defined() ? 4 : 2;
  return {.forward_bytes = bytes * streams, .backward_bytes = bytes * (streams == 4 ? 4 : 3)};
}

}  // namespace wyvern
