#include "autograd/ops/norm/l2_norm.h"

#include "kernels/norm/l2_norm.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

L2Norm::Outputs<Tensor> L2Norm::Forward(const Inputs<Tensor>& in, const Params& params,
                                        Saved* saved) {
  const int64_t K = in.x.dim(-1);
  Shape rows(in.x.shape().begin(), in.x.shape().end() - 1);
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  const Tensor rstd = Tensor::Empty(std::move(rows), AccDType(in.x.dtype()), in.x.device());
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    L2NormFwd(device, L2NormFwdParams<Io>{.num_rows = rstd.numel(),
                                          .dim = K,
                                          .eps = params.eps,
                                          .x = in.x.data<Io>(),
                                          .y = out.y.data<Io>(),
                                          .rstd = rstd.data<Acc>(),
                                          .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.y = out.y, .rstd = rstd};
  return out;
}

L2Norm::Inputs<Tensor> L2Norm::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                        const Inputs<GradRequest>&) {
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(saved.y)};
  Dispatch(saved.y.device(), saved.y.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    L2NormBwd(device, L2NormBwdParams<Io>{.num_rows = saved.rstd.numel(),
                                          .dim = saved.y.dim(-1),
                                          .y = saved.y.data<Io>(),
                                          .rstd = saved.rstd.data<Acc>(),
                                          .dy = d_out.y.data<Io>(),
                                          .dx = grad.x.data<Io>(),
                                          .stream = ComputeStream()});
  });
  return grad;
}

Cost L2Norm::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 3 * bytes};
}

}  // namespace wyvern
