#include "autograd/ops/short_conv.h"

#include "kernels/ops/short_conv.h"

namespace wyvern {

ShortConv::Outputs<Tensor> ShortConv::Forward(const Inputs<Tensor>& in, const Params& params,
                                              Saved* saved) {
  const int64_t D = in.x.dim(1), W = in.weight.dim(1), N = params.cu_seqlens.numel() - 1;
  CHECK(in.weight.dim(0) == D && W >= 1 && W <= kMaxShortConvWidth, "weight ",
        ToString(in.weight.shape()), " for x ", ToString(in.x.shape()), "; at most ",
        kMaxShortConvWidth, " taps");
  CHECK(N >= 0 && (in.x.dim(0) == 0 || N > 0), "cu_seqlens holds no document");
  const Shape state{N, W - 1, D};
  CHECK(!in.initial_state.defined() || in.initial_state.shape() == state, "initial_state ",
        ToString(in.initial_state.shape()), ", expected ", ToString(state));
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.x)};
  if (params.output_final_state) {
    out.final_state = Tensor::Empty(state, in.x.dtype(), in.x.device());
  }
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    ShortConvFwd(device, ShortConvFwdParams<Io>{.num_tokens = in.x.dim(0),
                                                .num_documents = N,
                                                .dim = D,
                                                .width = W,
                                                .silu = params.silu,
                                                .cu_seqlens = params.cu_seqlens.data<int32_t>(),
                                                .x = in.x.data<Io>(),
                                                .weight = in.weight.data<Acc>(),
                                                .initial_state = in.initial_state.data<Io>(),
                                                .y = out.y.data<Io>(),
                                                .final_state = out.final_state.data<Io>(),
                                                .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params};
  return out;
}

ShortConv::Inputs<Tensor> ShortConv::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                              const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(in.x), .weight = Tensor::EmptyLike(in.weight)};
  if (in.initial_state.defined() && want.initial_state.wanted) {
    grad.initial_state = Tensor::EmptyLike(in.initial_state);
  }
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    ShortConvBwd(device,
                 ShortConvBwdParams<Io>{.num_tokens = in.x.dim(0),
                                        .num_documents = saved.params.cu_seqlens.numel() - 1,
                                        .dim = in.x.dim(1),
                                        .width = in.weight.dim(1),
                                        .silu = saved.params.silu,
                                        .cu_seqlens = saved.params.cu_seqlens.data<int32_t>(),
                                        .x = in.x.data<Io>(),
                                        .weight = in.weight.data<Acc>(),
                                        .initial_state = in.initial_state.data<Io>(),
                                        .dy = d_out.y.data<Io>(),
                                        .d_final_state = d_out.final_state.data<Io>(),
                                        .dx = grad.x.data<Io>(),
                                        .d_weight = grad.weight.data<Acc>(),
                                        .d_initial_state = grad.initial_state.data<Io>(),
                                        .stream = ComputeStream()});
  });
  return grad;
}

Cost ShortConv::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 3 * bytes};
}

}  // namespace wyvern
