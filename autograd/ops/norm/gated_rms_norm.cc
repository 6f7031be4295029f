#include "autograd/ops/norm/gated_rms_norm.h"

#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// Rows to one index of the first axis.
int64_t Heads(const Tensor& x) {
  const int64_t V = x.dim(-1);
  return x.rank() < 2 || x.numel() == 0 ? 1 : x.numel() / x.dim(0) / V;
}

}  // namespace

GatedRmsNorm::Outputs<Tensor> GatedRmsNorm::Forward(const Inputs<Tensor>& in, const Params& params,
                                                    Saved* saved) {
  const int64_t V = in.x.dim(-1);
  CHECK(in.weight.shape() == Shape{V}, "weight ", ToString(in.weight.shape()), " for x ",
        ToString(in.x.shape()));
  CHECK(!in.gate.defined() || in.gate.shape() == in.x.shape(), "gate ", ToString(in.gate.shape()),
        " for x ", ToString(in.x.shape()));
  Shape rows(in.x.shape().begin(), in.x.shape().end() - 1);
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  const Saved all = {.in = in,
                     .params = params,
                     .rstd = Tensor::Empty(std::move(rows), AccDType(in.x.dtype()), in.x.device())};
  Recompute(all, out);
  if (saved != nullptr) *saved = all;
  return out;
}

void GatedRmsNorm::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  const Inputs<Tensor>& in = saved.in;
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GatedRmsNormFwd(device, GatedRmsNormFwdParams<Io>{.num_rows = saved.rstd.numel(),
                                                      .dim = in.x.dim(-1),
                                                      .heads = Heads(in.x),
                                                      .gate_stride = in.gate.row_stride(),
                                                      .eps = saved.params.eps,
                                                      .activation = saved.params.activation,
                                                      .x = in.x.data<Io>(),
                                                      .gate = in.gate.columns<Io>(),
                                                      .weight = in.weight.data<Acc>(),
                                                      .y = out.y.data<Io>(),
                                                      .rstd = saved.rstd.data<Acc>(),
                                                      .stream = ComputeStream()});
  });
}

GatedRmsNorm::Inputs<Tensor> GatedRmsNorm::Backward(const Saved& saved,
                                                    const Outputs<Tensor>& d_out,
                                                    const Inputs<GradRequest>& want) {
  return BackwardAndRecompute(saved, d_out, want, {});
}

GatedRmsNorm::Inputs<Tensor> GatedRmsNorm::BackwardAndRecompute(const Saved& saved,
                                                                const Outputs<Tensor>& d_out,
                                                                const Inputs<GradRequest>& want,
                                                                const Outputs<Tensor>& out) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(in.x)};
  const auto target = want.weight.WriteOrAdd(in.weight);
  const Tensor& d_weight = target.first;
  const bool add = target.second;
  if (!want.weight.into.defined()) grad.weight = d_weight;
  if (in.gate.defined()) {
    grad.gate = want.gate.place.defined() ? want.gate.place : Tensor::EmptyLike(in.gate);
  }
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GatedRmsNormBwd(device, GatedRmsNormBwdParams<Io>{.num_rows = saved.rstd.numel(),
                                                      .dim = in.x.dim(-1),
                                                      .heads = Heads(in.x),
                                                      .gate_stride = in.gate.row_stride(),
                                                      .d_gate_stride = grad.gate.row_stride(),
                                                      .activation = saved.params.activation,
                                                      .x = in.x.data<Io>(),
                                                      .gate = in.gate.columns<Io>(),
                                                      .weight = in.weight.data<Acc>(),
                                                      .rstd = saved.rstd.data<Acc>(),
                                                      .dy = d_out.y.data<Io>(),
                                                      .dx = grad.x.data<Io>(),
                                                      .d_gate = grad.gate.columns<Io>(),
                                                      .d_weight = d_weight.template data<Acc>(),
                                                      .add_d_weight = add,
                                                      .y = out.y.data<Io>(),
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
