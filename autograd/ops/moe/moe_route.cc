#include "autograd/ops/moe/moe_route.h"

#include <tuple>

#include "autograd/ops/moe/expert_plan.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

MoeRoute::Outputs<Tensor> MoeRoute::Forward(const Inputs<Tensor>& in, const Params& params,
                                            Saved* saved) {
  const int64_t T = in.x.dim(0), D = in.x.dim(1), E = in.weight.dim(0);
  const int64_t k = params.experts_per_token, groups = params.num_groups;
  CHECK(in.x.rank() == 2 && in.weight.shape() == (Shape{E, D}), "router ",
        ToString(in.weight.shape()), " for x ", ToString(in.x.shape()));
  CHECK(groups >= 1 && E % groups == 0 && 1 <= params.top_groups && params.top_groups <= groups &&
            1 <= k && k <= 32 && k <= params.top_groups * (E / groups) && E <= 1024,
        k, " of ", E, " experts in ", params.top_groups, " of ", groups, " groups");
  CHECK(!params.bias.defined() || params.bias.shape() == Shape{E}, "bias ",
        ToString(params.bias.shape()), " of ", E, " experts");
  const DType acc = AccDType(in.x.dtype());
  const Tensor bias = params.bias.defined() ? params.bias.To(acc) : Tensor();
  const Device device = in.x.device();
  Outputs<Tensor> out;
  out.weights = Tensor::Empty({T, k}, acc, device);
  out.scores = Tensor::Empty({T, E}, acc, device);
  out.indices = Tensor::Empty({T, k}, DType::kInt32, device);
  const MoeRouteShape shape{.num_tokens = T,
                            .dim = D,
                            .num_experts = E,
                            .experts_per_token = k,
                            .num_groups = groups,
                            .top_groups = params.top_groups,
                            .score = params.score,
                            .renormalize = params.renormalize,
                            .scale = params.scale};
  Dispatch(device, in.x.dtype(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    MoeRouteFwd(tag, MoeRouteFwdParams<Io>{.shape = shape,
                                           .x = in.x.data<Io>(),
                                           .weight = in.weight.data<Acc>(),
                                           .bias = bias.data<Acc>(),
                                           .scores = out.scores.data<Acc>(),
                                           .indices = out.indices.data<int32_t>(),
                                           .weights = out.weights.data<Acc>(),
                                           .stream = ComputeStream()});
  });
  ExpertPlan plan = ExpertPlan::Of(out.indices, E);
  out.offsets = std::move(plan.offsets);
  out.position = std::move(plan.position);
  out.source = std::move(plan.source);
  if (saved != nullptr) {
    *saved = {.shape = shape,
              .x = in.x,
              .weight = in.weight,
              .scores = out.scores,
              .indices = out.indices,
              .weights = out.weights};
  }
  return out;
}

MoeRoute::Inputs<Tensor> MoeRoute::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                            const Inputs<GradRequest>& want) {
  Inputs<Tensor> grad;
  if (want.x.wanted) grad.x = Tensor::EmptyLike(saved.x);
  Tensor d_weight;
  bool add = false;
  if (want.weight.wanted) {
    std::tie(d_weight, add) = want.weight.WriteOrAdd(saved.weight);
    if (!want.weight.into.defined()) grad.weight = d_weight;
  }
  const Tensor d_logits = Tensor::EmptyLike(saved.scores);
  Dispatch(saved.x.device(), saved.x.dtype(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    MoeRouteBwd(tag, MoeRouteBwdParams<Io>{.shape = saved.shape,
                                           .x = saved.x.data<Io>(),
                                           .weight = saved.weight.data<Acc>(),
                                           .scores = saved.scores.data<Acc>(),
                                           .indices = saved.indices.data<int32_t>(),
                                           .weights = saved.weights.data<Acc>(),
                                           .d_weights = d_out.weights.data<Acc>(),
                                           .d_scores = d_out.scores.data<Acc>(),
                                           .d_logits = d_logits.data<Acc>(),
                                           .d_x = grad.x.data<Io>(),
                                           .d_weight = d_weight.data<Acc>(),
                                           .add_d_weight = add,
                                           .stream = ComputeStream()});
  });
  return grad;
}

Cost MoeRoute::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double T = static_cast<double>(in.x.dim(0)), D = static_cast<double>(in.x.dim(1));
  const double E = static_cast<double>(in.weight.dim(0));
  const double x = static_cast<double>(in.x.nbytes());
  const double scores = T * E * static_cast<double>(SizeOf(AccDType(in.x.dtype())));
  return {.forward_flops = 2 * T * D * E,
          .backward_flops = 4 * T * D * E,
          .forward_bytes = x + scores,
          .backward_bytes = 2 * x + scores};
}

}  // namespace wyvern
