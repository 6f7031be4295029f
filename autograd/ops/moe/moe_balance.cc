#include "autograd/ops/moe/moe_balance.h"

#include "kernels/moe/moe_balance.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

MoeBalance::Outputs<Tensor> MoeBalance::Forward(const Inputs<Tensor>& in, const Params& params,
                                                Saved* saved) {
  const Tensor& scores = in.scores;
  CHECK(scores.rank() == 2 && scores.dtype() == AccDType(scores.dtype()), "scores ",
        ToString(scores.shape()), " ", Name(scores.dtype()));
  const int64_t N = params.cu_seqlens.numel() - 1, E = scores.dim(1);
  Outputs<Tensor> out{.loss = Tensor::Empty({1}, scores.dtype(), scores.device())};
  const Tensor fractions = Tensor::Empty({N, E}, scores.dtype(), scores.device());
  Dispatch(scores.device(), scores.dtype(), [&](auto device, auto io) {
    using Acc = AccOf<typename decltype(io)::type>;
    MoeBalanceFwd(device, MoeBalanceFwdParams<Acc>{.num_tokens = scores.dim(0),
                                                   .num_documents = N,
                                                   .num_experts = E,
                                                   .experts_per_token = params.experts_per_token,
                                                   .factor = params.factor,
                                                   .cu_seqlens = params.cu_seqlens.data<int32_t>(),
                                                   .scores = scores.data<Acc>(),
                                                   .fractions = fractions.data<Acc>(),
                                                   .loss = out.loss.data<Acc>(),
                                                   .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.params = params, .scores = scores, .fractions = fractions};
  return out;
}

MoeBalance::Inputs<Tensor> MoeBalance::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                                const Inputs<GradRequest>&) {
  const Tensor& scores = saved.scores;
  Inputs<Tensor> grad{.scores = Tensor::EmptyLike(scores)};
  Dispatch(scores.device(), scores.dtype(), [&](auto device, auto io) {
    using Acc = AccOf<typename decltype(io)::type>;
    MoeBalanceBwd(device,
                  MoeBalanceBwdParams<Acc>{.num_tokens = scores.dim(0),
                                           .num_documents = saved.fractions.dim(0),
                                           .num_experts = scores.dim(1),
                                           .factor = saved.params.factor,
                                           .cu_seqlens = saved.params.cu_seqlens.data<int32_t>(),
                                           .scores = scores.data<Acc>(),
                                           .fractions = saved.fractions.data<Acc>(),
                                           .d_loss = d_out.loss.data<Acc>(),
                                           .d_scores = grad.scores.data<Acc>(),
                                           .stream = ComputeStream()});
  });
  return grad;
}

Cost MoeBalance::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.scores.nbytes());
  return {.forward_bytes = bytes, .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
