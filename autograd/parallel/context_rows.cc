#include "autograd/parallel/context_rows.h"

namespace wyvern {
namespace {
using Op = ContextRows;
}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  if (saved != nullptr) *saved = {.params = params};
  const RowExchange exchange(params.split.get(), RowExchange::kNoLimit);
  if (exchange.idle()) return {.y = in.x};
  const int64_t P = exchange.num_rows(), T = in.x.dim(0);
  const Tensor y = Tensor::Empty({P + T, in.x.dim(1)}, in.x.dtype(), in.x.device());
  y.Rows(P, P + T).CopyFrom(in.x);
  InFlight fetched = exchange.Fetch(in.x, y.Rows(0, P));
  if (P > 0) {
    fetched.pending.Wait();
  } else {
    params.split->Keep(std::move(fetched));
  }
  return {.y = y};
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>&) {
  ContextSplit& split = *saved.params.split;
  const RowExchange exchange(&split, RowExchange::kNoLimit);
  if (exchange.idle()) return {.x = d_out.y};
  const int64_t P = exchange.num_rows();
  const Tensor d = d_out.y.unique() ? d_out.y : d_out.y.Clone();
  const Tensor own = d.Rows(P, d.dim(0));
  InFlight returned = exchange.Return(d.Rows(0, P));
  exchange.AddReturned(&returned, own);
  split.Keep(std::move(returned));
  return {.x = own};
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
