#include "autograd/ops/pointwise/silu.h"

#include "kernels/pointwise/silu.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

Silu::Outputs<Tensor> Silu::Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SiluFwd(device, SiluFwdParams<Io>{.num_elements = in.x.numel(),
                                      .x = in.x.data<Io>(),
                                      .y = out.y.data<Io>(),
                                      .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.x = in.x};
  return out;
}

Silu::Inputs<Tensor> Silu::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                    const Inputs<GradRequest>&) {
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(saved.x)};
  Dispatch(saved.x.device(), saved.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SiluBwd(device, SiluBwdParams<Io>{.num_elements = saved.x.numel(),
                                      .x = saved.x.data<Io>(),
                                      .dy = d_out.y.data<Io>(),
                                      .dx = grad.x.data<Io>(),
                                      .stream = ComputeStream()});
  });
  return grad;
}

Cost Silu::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 3 * bytes};
}

}  // namespace wyvern
