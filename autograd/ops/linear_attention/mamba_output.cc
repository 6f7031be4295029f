#include "autograd/ops/linear_attention/mamba_output.h"

#include "kernels/linear_attention/mamba_output.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = MambaOutput;

template <typename Io>
MambaOutputIn<Io> KernelInputs(const Op::Inputs<Tensor>& in, const Op::Params& params) {
  using Acc = AccOf<Io>;
  return {.num_tokens = in.o.dim(0),
          .num_heads = in.o.dim(1),
          .head_dim = in.o.dim(2),
          .num_groups = params.num_groups,
          .gate_stride = in.gate.row_stride(),
          .eps = params.eps,
          .o = in.o.data<Io>(),
          .x = in.x.data<Io>(),
          .gate = in.gate.columns<Io>(),
          .skip = in.skip.data<Acc>(),
          .weight = in.weight.data<Acc>()};
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  const int64_t T = in.o.dim(0), H = in.o.dim(1), HP = H * in.o.dim(2);
  CHECK(in.x.shape() == in.o.shape(), "o ", ToString(in.o.shape()), " and x ",
        ToString(in.x.shape()));
  CHECK(in.gate.shape() == Shape({T, HP}), "gate ", ToString(in.gate.shape()), " for o ",
        ToString(in.o.shape()));
  CHECK(in.skip.shape() == Shape{H} && in.weight.shape() == Shape{HP}, "skip ",
        ToString(in.skip.shape()), ", weight ", ToString(in.weight.shape()));
  CHECK(HP % params.num_groups == 0, HP, " channels in ", params.num_groups, " groups");
  const Device device = in.o.device();
  Outputs<Tensor> out{.y = Tensor::Empty({T, HP}, in.o.dtype(), device)};
  const Tensor rstd = Tensor::Empty({T, params.num_groups}, AccDType(in.o.dtype()), device);
  Dispatch(device, in.o.dtype(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    MambaOutputFwd(tag, MambaOutputFwdParams<Io>{.in = KernelInputs<Io>(in, params),
                                                 .y = out.y.data<Io>(),
                                                 .rstd = rstd.data<AccOf<Io>>(),
                                                 .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params, .rstd = rstd};
  return out;
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{
      .o = Tensor::EmptyLike(in.o),
      .x = Tensor::EmptyLike(in.x),
      .gate = want.gate.place.defined() ? want.gate.place : Tensor::EmptyLike(in.gate),
      .skip = Tensor::EmptyLike(in.skip),
      .weight = Tensor::EmptyLike(in.weight)};
  Dispatch(in.o.device(), in.o.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    MambaOutputBwd(device, MambaOutputBwdParams<Io>{.in = KernelInputs<Io>(in, saved.params),
                                                    .d_gate_stride = grad.gate.row_stride(),
                                                    .rstd = saved.rstd.data<Acc>(),
                                                    .dy = d_out.y.data<Io>(),
                                                    .d_o = grad.o.data<Io>(),
                                                    .dx = grad.x.data<Io>(),
                                                    .d_gate = grad.gate.columns<Io>(),
                                                    .d_skip = grad.skip.data<Acc>(),
                                                    .d_weight = grad.weight.data<Acc>(),
                                                    .stream = ComputeStream()});
  });
  return grad;
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const auto bytes = static_cast<double>(in.o.nbytes());
  // The backward's sums over tokens read all of it again.
  return {.forward_bytes = 4 * bytes, .backward_bytes = 11 * bytes};
}

}  // namespace wyvern
