#include "autograd/ops/head/embedding.h"

#include "kernels/head/embedding.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

Embedding::Outputs<Tensor> Embedding::Forward(const Inputs<Tensor>& in, const Params& params,
                                              Saved* saved) {
  const int64_t T = params.ids.numel(), D = in.weight.dim(1);
  Outputs<Tensor> out{.y = Tensor::Empty({T, D}, in.weight.dtype(), in.weight.device())};
  Dispatch(in.weight.device(), in.weight.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    EmbeddingFwd(device, EmbeddingFwdParams<Io>{.num_tokens = T,
                                                .num_ids = in.weight.dim(0),
                                                .dim = D,
                                                .ids = params.ids.data<int32_t>(),
                                                .weight = in.weight.data<Io>(),
                                                .y = out.y.data<Io>(),
                                                .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.params = params, .weight = in.weight};
  return out;
}

Embedding::Inputs<Tensor> Embedding::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                              const Inputs<GradRequest>& want) {
  Inputs<Tensor> grad;
  if (!want.weight.into.defined()) grad.weight = Tensor::EmptyLike(saved.weight);
  Dispatch(saved.weight.device(), saved.weight.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    EmbeddingBwd(device, EmbeddingBwdParams<Io>{.num_tokens = saved.params.ids.numel(),
                                                .num_ids = saved.weight.dim(0),
                                                .dim = saved.weight.dim(1),
                                                .padding_id = saved.params.padding_id,
                                                .ids = saved.params.ids.data<int32_t>(),
                                                .dy = d_out.y.data<Io>(),
                                                .d_weight_into = want.weight.into.data<Acc>(),
                                                .d_weight = grad.weight.data<Io>(),
                                                .stream = ComputeStream()});
  });
  return grad;
}

Cost Embedding::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  const double elements = static_cast<double>(params.ids.numel() * in.weight.dim(1));
  const double bytes = elements * static_cast<double>(SizeOf(in.weight.dtype()));
  return {.forward_bytes = 2 * bytes, .backward_bytes = bytes + 2 * elements * sizeof(float)};
}

}  // namespace wyvern
