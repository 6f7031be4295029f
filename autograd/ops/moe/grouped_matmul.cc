#include "autograd/ops/moe/grouped_matmul.h"

#include "kernels/moe/grouped_matmul.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

GroupedMatmulShape ShapeOf(const Tensor& x, const Tensor& weight, const Tensor& offsets) {
  const int64_t E = offsets.numel() - 1;
  CHECK(x.rank() == 2 && weight.rank() == 3 && E >= 1 && weight.dim(0) % E == 0 &&
            weight.dim(2) == x.dim(1),
        "weight ", ToString(weight.shape()), " of ", E, " experts for rows ", ToString(x.shape()));
  return {.num_rows = x.dim(0),
          .num_experts = E,
          .num_matrices = weight.dim(0) / E,
          .dim_in = x.dim(1),
          .dim_out = weight.dim(1)};
}

}  // namespace

GroupedMatMul::Outputs<Tensor> GroupedMatMul::Forward(const Inputs<Tensor>& in,
                                                      const Params& params, Saved* saved) {
  const GroupedMatmulShape shape = ShapeOf(in.x, in.weight, params.offsets);
  Outputs<Tensor> out{.y = Tensor::Empty({shape.num_rows, shape.num_matrices * shape.dim_out},
                                         in.x.dtype(), in.x.device())};
  const Saved all{.in = in, .params = params};
  Recompute(all, out);
  if (saved != nullptr) *saved = all;
  return out;
}

void GroupedMatMul::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  const Tensor& x = saved.in.x;
  const Tensor& weight = saved.in.weight;
  Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    GroupedMatmulFwd(device,
                     GroupedMatmulFwdParams<Io>{.shape = ShapeOf(x, weight, saved.params.offsets),
                                                .offsets = saved.params.offsets.data<int32_t>(),
                                                .x = x.data<Io>(),
                                                .weight = weight.data<Io>(),
                                                .y = out.y.data<Io>(),
                                                .stream = ComputeStream()});
  });
}

GroupedMatMul::Inputs<Tensor> GroupedMatMul::Backward(const Saved& saved,
                                                      const Outputs<Tensor>& d_out,
                                                      const Inputs<GradRequest>& want) {
  const Tensor& x = saved.in.x;
  const Tensor& weight = saved.in.weight;
  const GroupedMatmulShape shape = ShapeOf(x, weight, saved.params.offsets);
  const int32_t* offsets = saved.params.offsets.data<int32_t>();
  Inputs<Tensor> grad;
  Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    const Io* d_y = d_out.y.data<Io>();
    if (want.x.wanted) {
      grad.x = Tensor::EmptyLike(x);
      GroupedMatmulInputGrad(device, GroupedMatmulInputGradParams<Io>{.shape = shape,
                                                                      .offsets = offsets,
                                                                      .d_y = d_y,
                                                                      .weight = weight.data<Io>(),
                                                                      .d_x = grad.x.data<Io>(),
                                                                      .stream = ComputeStream()});
    }
    if (!want.weight.wanted) return;
    const auto weight_gradient = [&]<typename Out>(Out* d_weight, bool add) {
      GroupedMatmulWeightGrad(device,
                              GroupedMatmulWeightGradParams<Io, Out>{.shape = shape,
                                                                     .offsets = offsets,
                                                                     .d_y = d_y,
                                                                     .x = x.data<Io>(),
                                                                     .d_weight = d_weight,
                                                                     .add = add,
                                                                     .stream = ComputeStream()});
    };
    if (want.weight.into.defined()) {
      weight_gradient(want.weight.into.data<Acc>(), !want.weight.TakeCleared());
    } else {
      grad.weight = Tensor::EmptyLike(weight);
      weight_gradient(grad.weight.data<Io>(), false);
    }
  });
  return grad;
}

Cost GroupedMatMul::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  const GroupedMatmulShape s = ShapeOf(in.x, in.weight, params.offsets);
  const double flops = 2 * static_cast<double>(s.num_rows) *
                       static_cast<double>(s.num_matrices * s.dim_out) *
                       static_cast<double>(s.dim_in);
  const double bytes =
      static_cast<double>(in.x.nbytes() + in.weight.nbytes() +
                          s.num_rows * s.num_matrices * s.dim_out * SizeOf(in.x.dtype()));
  return {.forward_flops = flops,
          .backward_flops = 2 * flops,
          .forward_bytes = bytes,
          .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
