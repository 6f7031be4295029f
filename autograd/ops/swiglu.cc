#include "autograd/ops/swiglu.h"

#include "kernels/ops/swiglu.h"

namespace wyvern {

SwiGlu::Outputs<Tensor> SwiGlu::Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
  CHECK(in.gate.shape() == in.up.shape(), "gate ", ToString(in.gate.shape()), " and up ",
        ToString(in.up.shape()));
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.gate)};
  Dispatch(in.gate.device(), in.gate.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SwiGluFwd(device, SwiGluFwdParams<Io>{.num_elements = in.gate.numel(),
                                          .gate = in.gate.data<Io>(),
                                          .up = in.up.data<Io>(),
                                          .y = out.y.data<Io>(),
                                          .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in};
  return out;
}

SwiGlu::Inputs<Tensor> SwiGlu::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                        const Inputs<GradRequest>&) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.gate = Tensor::EmptyLike(in.gate), .up = Tensor::EmptyLike(in.up)};
  Dispatch(in.gate.device(), in.gate.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SwiGluBwd(device, SwiGluBwdParams<Io>{.num_elements = in.gate.numel(),
                                          .gate = in.gate.data<Io>(),
                                          .up = in.up.data<Io>(),
                                          .dy = d_out.y.data<Io>(),
                                          .d_gate = grad.gate.data<Io>(),
                                          .d_up = grad.up.data<Io>(),
                                          .stream = ComputeStream()});
  });
  return grad;
}

Cost SwiGlu::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.gate.nbytes());
  return {.forward_bytes = 3 * bytes, .backward_bytes = 5 * bytes};
}

}  // namespace wyvern
