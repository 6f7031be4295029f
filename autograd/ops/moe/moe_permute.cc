#include "autograd/ops/moe/moe_permute.h"

#include "kernels/moe/moe_rows.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// Experts a token; 1 where there are no tokens.
int64_t PairsPerToken(const Tensor& x, const Tensor& position) {
  return x.dim(0) == 0 ? 1 : position.numel() / x.dim(0);
}

}  // namespace

MoePermute::Outputs<Tensor> MoePermute::Forward(const Inputs<Tensor>& in, const Params& params,
                                                Saved* saved) {
  const int64_t R = params.position.numel();
  CHECK(in.x.rank() == 2 && R == in.x.dim(0) * PairsPerToken(in.x, params.position), "a plan of ",
        R, " rows for x ", ToString(in.x.shape()));
  const Saved all{.params = params, .x = in.x};
  Outputs<Tensor> out{.rows = Tensor::Empty({R, in.x.dim(1)}, in.x.dtype(), in.x.device())};
  Recompute(all, out);
  if (saved != nullptr) *saved = all;
  return out;
}

void MoePermute::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  const Tensor& x = saved.x;
  Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    MoeScatter(device,
               MoeScatterParams<Io>{.num_tokens = x.dim(0),
                                    .dim = x.dim(1),
                                    .experts_per_token = PairsPerToken(x, saved.params.position),
                                    .position = saved.params.position.data<int32_t>(),
                                    .x = x.data<Io>(),
                                    .to = out.rows.data<Io>(),
                                    .stream = ComputeStream()});
  });
}

MoePermute::Inputs<Tensor> MoePermute::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                                const Inputs<GradRequest>&) {
  const Tensor& x = saved.x;
  Inputs<Tensor> grad{.x = Tensor::EmptyLike(x)};
  Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    MoeGather(device,
              MoeGatherParams<Io>{.num_tokens = x.dim(0),
                                  .dim = x.dim(1),
                                  .experts_per_token = PairsPerToken(x, saved.params.position),
                                  .rows = d_out.rows.data<Io>(),
                                  .position = saved.params.position.data<int32_t>(),
                                  .y = grad.x.data<Io>(),
                                  .stream = ComputeStream()});
  });
  return grad;
}

Cost MoePermute::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  // A row's copies are one read.
  const double bytes = static_cast<double>((in.x.dim(0) + params.position.numel()) * in.x.dim(1) *
                                           SizeOf(in.x.dtype()));
  return {.forward_bytes = bytes, .backward_bytes = bytes};
}

}  // namespace wyvern
