#include "autograd/ops/pointwise/row_gate.h"

#include "kernels/pointwise/row_gate.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

RowGate::Outputs<Tensor> RowGate::Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
  CHECK(in.x.shape().size() == 2 && in.gate.shape() == (Shape{in.x.dim(0), 1}), "x ",
        ToString(in.x.shape()), " and gate ", ToString(in.gate.shape()));
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    RowGateFwd(device, RowGateFwdParams<Io>{.num_rows = in.x.dim(0),
                                            .dim = in.x.dim(1),
                                            .x = in.x.data<Io>(),
                                            .gate = in.gate.data<Io>(),
                                            .y = out.y.data<Io>(),
                                            .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in};
  return out;
}

RowGate::Inputs<Tensor> RowGate::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                          const Inputs<GradRequest>&) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(in.x), .gate = Tensor::EmptyLike(in.gate)};
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    RowGateBwd(device, RowGateBwdParams<Io>{.num_rows = in.x.dim(0),
                                            .dim = in.x.dim(1),
                                            .x = in.x.data<Io>(),
                                            .gate = in.gate.data<Io>(),
                                            .dy = d_out.y.data<Io>(),
                                            .dx = grad.x.data<Io>(),
                                            .d_gate = grad.gate.data<Io>(),
                                            .stream = ComputeStream()});
  });
  return grad;
}

Cost RowGate::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 3 * bytes};
}

}  // namespace wyvern
