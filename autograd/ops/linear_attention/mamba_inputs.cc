#include "autograd/ops/linear_attention/mamba_inputs.h"

#include "kernels/linear_attention/mamba_inputs.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = MambaInputs;

template <typename Io>
MambaInputsIn<Io> KernelInputs(const Op::Inputs<Tensor>& in, const Op::Params& params) {
  using Acc = AccOf<Io>;
  return {.num_tokens = in.dt.dim(0),
          .num_heads = in.dt.dim(1),
          .head_dim = params.head_dim,
          .num_groups = params.num_groups,
          .state_dim = params.state_dim,
          .dt_stride = in.dt.row_stride(),
          .min_dt = params.min_dt,
          .max_dt = params.max_dt,
          .conv = in.conv.data<Io>(),
          .conv_bias = in.conv_bias.data<Acc>(),
          .dt = in.dt.columns<Io>(),
          .a_log = in.a_log.data<Acc>(),
          .dt_bias = in.dt_bias.data<Acc>()};
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  const int64_t T = in.dt.dim(0), H = in.dt.dim(1);
  const int64_t P = params.head_dim, G = params.num_groups, N = params.state_dim;
  CHECK(in.conv.shape() == Shape({T, H * P + 2 * G * N}), "conv ", ToString(in.conv.shape()),
        " for dt ", ToString(in.dt.shape()));
  CHECK(!in.conv_bias.defined() || in.conv_bias.numel() == in.conv.dim(1), "conv_bias ",
        ToString(in.conv_bias.shape()));
  CHECK(in.a_log.shape() == Shape{H} && in.dt_bias.shape() == Shape{H}, "a_log ",
        ToString(in.a_log.shape()), ", dt_bias ", ToString(in.dt_bias.shape()));
  CHECK(H % G == 0, H, " heads in ", G, " groups");
  const auto empty = [&](Shape shape) {
    return Tensor::Empty(std::move(shape), in.conv.dtype(), in.conv.device());
  };
  Outputs<Tensor> out{.x = empty({T, H, P}),
                      .v = empty({T, H, P}),
                      .k = empty({T, G, N}),
                      .q = empty({T, G, N}),
                      .g = empty({T, H})};
  Dispatch(in.conv.device(), in.conv.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    MambaInputsFwd(device, MambaInputsFwdParams<Io>{.in = KernelInputs<Io>(in, params),
                                                    .x = out.x.data<Io>(),
                                                    .v = out.v.data<Io>(),
                                                    .k = out.k.data<Io>(),
                                                    .q = out.q.data<Io>(),
                                                    .g = out.g.data<Io>(),
                                                    .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params};
  return out;
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.conv = Tensor::EmptyLike(in.conv),
                      .dt = want.dt.place.defined() ? want.dt.place : Tensor::EmptyLike(in.dt),
                      .a_log = Tensor::EmptyLike(in.a_log),
                      .dt_bias = Tensor::EmptyLike(in.dt_bias)};
  if (in.conv_bias.defined()) grad.conv_bias = Tensor::EmptyLike(in.conv_bias);
  Dispatch(in.conv.device(), in.conv.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    MambaInputsBwd(device, MambaInputsBwdParams<Io>{.in = KernelInputs<Io>(in, saved.params),
                                                    .d_dt_stride = grad.dt.row_stride(),
                                                    .dx = d_out.x.data<Io>(),
                                                    .dv = d_out.v.data<Io>(),
                                                    .dk = d_out.k.data<Io>(),
                                                    .dq = d_out.q.data<Io>(),
                                                    .dg = d_out.g.data<Io>(),
                                                    .d_conv = grad.conv.data<Io>(),
                                                    .d_conv_bias = grad.conv_bias.data<Acc>(),
                                                    .d_dt = grad.dt.columns<Io>(),
                                                    .d_a_log = grad.a_log.data<Acc>(),
                                                    .d_dt_bias = grad.dt_bias.data<Acc>(),
                                                    .stream = ComputeStream()});
  });
  return grad;
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  const double token = static_cast<double>(in.dt.dim(0)) * SizeOf(in.conv.dtype());
  const auto H = static_cast<double>(in.dt.dim(1));
  const double values = token * H * static_cast<double>(params.head_dim);
  const auto conv = static_cast<double>(in.conv.nbytes());
  // v, which the convolution's channels make besides, and the steps; backward reads twice.
  return {.forward_bytes = 2 * conv + values + 2 * token * H,
          .backward_bytes = 4 * conv + 2 * values + 4 * token * H};
}

}  // namespace wyvern
