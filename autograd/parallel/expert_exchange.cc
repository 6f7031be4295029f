#include "autograd/parallel/expert_exchange.h"

#include <numeric>

namespace wyvern {

ExpertExchange::ExpertExchange(const Tensor& offsets, int64_t num_rows, Communicator* group)
    : group_(group) {
  const int64_t E = offsets.numel() - 1, G = group->size(), own = E / G;
  CHECK(E % G == 0, E, " experts on ", G, " ranks");
  const bool meta = offsets.device() == Device::kMeta;
  std::vector<int32_t> begins = offsets.ToVector<int32_t>();
  for (int64_t e = 0; e <= E && meta; ++e) begins[e] = static_cast<int32_t>(e * num_rows / E);
  std::vector<int32_t> counts;  // of this rank's rows, by expert
  for (int64_t e = 0; e < E; ++e) counts.push_back(begins[e + 1] - begins[e]);
  const std::vector<int64_t> equal(static_cast<size_t>(G), own);
  const Tensor out = Tensor::FromVector(counts, {E}).To(offsets.device());
  const Tensor in = Tensor::EmptyLike(out);
  group->AllToAll(out.raw(), equal, in.raw(), equal, DType::kInt32).Wait();
  // [rank, own expert]
  const std::vector<int32_t> arriving = meta ? counts : in.ToVector<int32_t>();
  std::vector<int32_t> experts;  // of each row that comes
  for (int64_t r = 0; r < G; ++r) {
    sent_.push_back(begins[(r + 1) * own] - begins[r * own]);
    received_.push_back(0);
    for (int64_t e = 0; e < own; ++e) {
      const int32_t count = arriving[r * own + e];
      received_.back() += count;
      experts.insert(experts.end(), count, static_cast<int32_t>(e));
    }
  }
  const auto rows = static_cast<int64_t>(experts.size());
  plan_ = ExpertPlan::Of(Tensor::FromVector(experts, {rows}).To(offsets.device()), own);
}

Tensor ExpertExchange::Start(const Tensor& x, bool back, Pending* pending) const {
  const int64_t D = x.dim(1);
  const auto elements = [&](std::vector<int64_t> rows) {
    for (int64_t& n : rows) n *= D;
    return rows;
  };
  const std::vector<int64_t>& from = back ? received_ : sent_;
  const std::vector<int64_t>& to = back ? sent_ : received_;
  CHECK(x.dim(0) == std::accumulate(from.begin(), from.end(), int64_t{0}), "an exchange of ",
        x.dim(0), " rows by the plan of others");
  const Tensor y =
      Tensor::Empty({std::accumulate(to.begin(), to.end(), int64_t{0}), D}, x.dtype(), x.device());
  *pending = group_->AllToAll(x.raw(), elements(from), y.raw(), elements(to), x.dtype());
  return y;
}

ExchangeRows::Outputs<Tensor> ExchangeRows::Forward(const Inputs<Tensor>& in, const Params& params,
                                                    Saved* saved) {
  Pending own;
  Outputs<Tensor> out{
      .y = params.exchange->Start(in.x, params.back,
                                  params.pending == nullptr ? &own : params.pending.get())};
  own.Wait();
  if (saved != nullptr) saved->params = {.exchange = params.exchange, .back = params.back};
  return out;
}

ExchangeRows::Inputs<Tensor> ExchangeRows::Backward(const Saved& saved,
                                                    const Outputs<Tensor>& d_out,
                                                    const Inputs<GradRequest>&) {
  Pending pending;
  Inputs<Tensor> grad{.x = saved.params.exchange->Start(d_out.y, !saved.params.back, &pending)};
  pending.Wait();
  return grad;
}

Cost ExchangeRows::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
