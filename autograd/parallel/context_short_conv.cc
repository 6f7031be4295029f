#include "autograd/parallel/context_short_conv.h"

namespace wyvern {
namespace {

using Op = ContextShortConv;

RowExchange TailExchange(ContextSplit* split, const Tensor& weight) {
  return RowExchange(split, weight.dim(1) - 1);
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  CHECK(!params.conv.output_final_state, "the state of a document that is cut stays inside");
  const RowExchange tails = TailExchange(params.split.get(), in.weight);
  ShortConv::Inputs<Tensor> base{.x = in.x, .weight = in.weight};
  if (!tails.idle()) {
    const int64_t P = tails.num_rows(), D = in.x.dim(1), W = in.weight.dim(1);
    const Tensor rows = Tensor::Empty({P, D}, in.x.dtype(), in.x.device());
    InFlight fetched = tails.Fetch(in.x, rows);
    if (P > 0) {
      const int64_t N = params.conv.cu_seqlens.numel() - 1;
      base.initial_state = Tensor::Zeros({N, W - 1, D}, in.x.dtype(), in.x.device());
      fetched.pending.Wait();
      base.initial_state.Reshape({N * (W - 1), D}).Rows(W - 1 - P, W - 1).CopyFrom(rows);
    } else {
      params.split->Keep(std::move(fetched));
    }
  }
  if (saved != nullptr) saved->split = params.split;
  const ShortConv::Outputs<Tensor> out =
      ShortConv::Forward(base, params.conv, saved == nullptr ? nullptr : &saved->conv);
  return {.y = out.y, .y1 = out.y1, .y2 = out.y2};
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const ShortConv::Inputs<Tensor>& in = saved.conv.in;
  const RowExchange tails = TailExchange(saved.split.get(), in.weight);
  ShortConv::Inputs<GradRequest> base_want{.x = want.x, .weight = want.weight};
  base_want.initial_state.wanted = true;
  const ShortConv::Inputs<Tensor> grad =
      ShortConv::Backward(saved.conv, {.y = d_out.y, .y1 = d_out.y1, .y2 = d_out.y2}, base_want);
  if (!tails.idle()) {
    const int64_t P = tails.num_rows(), D = in.x.dim(1), W = in.weight.dim(1);
    Tensor d_rows = Tensor::Empty({0, D}, in.x.dtype(), in.x.device());
    if (P > 0) d_rows = grad.initial_state.Reshape({-1, D}).Rows(W - 1 - P, W - 1);
    InFlight returned = tails.Return(d_rows);
    tails.AddReturned(&returned, grad.x);
    saved.split->Keep(std::move(returned));
  }
  return {.x = grad.x, .weight = grad.weight};
}

void Op::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  ShortConv::Recompute(saved.conv, {.y = out.y, .y1 = out.y1, .y2 = out.y2});
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  return ShortConv::EstimateCost({.x = in.x, .weight = in.weight}, params.conv);
}

}  // namespace wyvern
