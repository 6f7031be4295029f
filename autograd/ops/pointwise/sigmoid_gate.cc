#include "autograd/ops/pointwise/sigmoid_gate.h"

#include "kernels/pointwise/sigmoid_gate.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

SigmoidGate::Outputs<Tensor> SigmoidGate::Forward(const Inputs<Tensor>& in, const Params&,
                                                  Saved* saved) {
  CHECK(in.x.shape() == in.gate.shape(), "x ", ToString(in.x.shape()), " and gate ",
        ToString(in.gate.shape()));
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SigmoidGateFwd(device, SigmoidGateFwdParams<Io>{.num_elements = in.x.numel(),
                                                    .x = in.x.data<Io>(),
                                                    .gate = in.gate.data<Io>(),
                                                    .y = out.y.data<Io>(),
                                                    .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in};
  return out;
}

SigmoidGate::Inputs<Tensor> SigmoidGate::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                                  const Inputs<GradRequest>&) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(in.x), .gate = Tensor::EmptyLike(in.gate)};
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SigmoidGateBwd(device, SigmoidGateBwdParams<Io>{.num_elements = in.x.numel(),
                                                    .x = in.x.data<Io>(),
                                                    .gate = in.gate.data<Io>(),
                                                    .dy = d_out.y.data<Io>(),
                                                    .dx = grad.x.data<Io>(),
                                                    .d_gate = grad.gate.data<Io>(),
                                                    .stream = ComputeStream()});
  });
  return grad;
}

Cost SigmoidGate::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 3 * bytes, .backward_bytes = 5 * bytes};
}

}  // namespace wyvern
