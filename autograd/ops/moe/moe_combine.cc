#include "autograd/ops/moe/moe_combine.h"

#include "kernels/moe/moe_rows.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

MoeCombine::Outputs<Tensor> MoeCombine::Forward(const Inputs<Tensor>& in, const Params& params,
                                                Saved* saved) {
  const int64_t R = in.rows.dim(0), D = in.rows.dim(1);
  const int64_t T = in.weights.defined() ? in.weights.dim(0) : R;
  const int64_t k = in.weights.defined() ? in.weights.dim(1) : 1;
  CHECK(in.rows.rank() == 2 && R == T * k && params.position.numel() == R, "rows ",
        ToString(in.rows.shape()), " of ", T, " tokens with ", k, " experts, in a plan of ",
        params.position.numel());
  CHECK(!in.shared.defined() || in.shared.shape() == (Shape{T, D}), "shared ",
        ToString(in.shared.shape()), " for ", T, " rows of ", D);
  Outputs<Tensor> out{.y = Tensor::Empty({T, D}, in.rows.dtype(), in.rows.device())};
  Dispatch(in.rows.device(), in.rows.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    MoeGather(device, MoeGatherParams<Io>{.num_tokens = T,
                                          .dim = D,
                                          .experts_per_token = k,
                                          .rows = in.rows.data<Io>(),
                                          .weights = in.weights.data<Acc>(),
                                          .shared = in.shared.data<Io>(),
                                          .position = params.position.data<int32_t>(),
                                          .y = out.y.data<Io>(),
                                          .stream = ComputeStream()});
  });
  if (saved != nullptr) {
    saved->params = params;
    saved->weights = in.weights;
    if (in.weights.defined()) saved->rows = in.rows;  // that only their gradient needs
    saved->has_shared = in.shared.defined();
  }
  return out;
}

MoeCombine::Inputs<Tensor> MoeCombine::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                                const Inputs<GradRequest>& want) {
  const Tensor &rows = saved.rows, &weights = saved.weights, &dy = d_out.y;
  Inputs<Tensor> grad;
  if (want.rows.wanted) grad.rows = Tensor::EmptyLike(weights.defined() ? rows : dy);
  if (want.weights.wanted) grad.weights = Tensor::EmptyLike(weights);
  if (saved.has_shared) grad.shared = d_out.y;
  Dispatch(dy.device(), dy.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    MoeScatter(device,
               MoeScatterParams<Io>{.num_tokens = dy.dim(0),
                                    .dim = dy.dim(1),
                                    .experts_per_token = weights.defined() ? weights.dim(1) : 1,
                                    .rows = rows.data<Io>(),
                                    .weights = weights.data<Acc>(),
                                    .position = saved.params.position.data<int32_t>(),
                                    .x = dy.data<Io>(),
                                    .to = grad.rows.data<Io>(),
                                    .dots = grad.weights.data<Acc>(),
                                    .stream = ComputeStream()});
  });
  return grad;
}

Cost MoeCombine::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double rows = static_cast<double>(in.rows.nbytes());
  const double y = in.weights.defined() ? rows / static_cast<double>(in.weights.dim(1)) : rows;
  return {.forward_bytes = rows + y + (in.shared.defined() ? y : 0),
          .backward_bytes = (in.weights.defined() ? 2 : 1) * rows + y};
}

}  // namespace wyvern
