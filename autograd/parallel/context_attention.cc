#include "autograd/parallel/context_attention.h"

namespace wyvern {
namespace {

using Op = ContextAttention;

// Exchanges the keys before a rank's own that its first query sees.
RowExchange KeyExchange(ContextSplit* split, int64_t window) {
  return RowExchange(split, window == 0 ? RowExchange::kNoLimit : window - 1);
}

// x of this rank with room for the rows before it.
Tensor WithRoom(const Tensor& x, int64_t num_rows) {
  if (num_rows == 0) return x;
  Shape shape = x.shape();
  shape[0] += num_rows;
  const Tensor all = Tensor::Empty(std::move(shape), x.dtype(), x.device());
  all.Rows(num_rows, all.dim(0)).CopyFrom(x);
  return all;
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  ContextSplit& split = *params.split;
  Attention::Params attention = params.attention;
  CHECK(attention.cu_seqlens_k_host.empty() && attention.cu_seqlens_q_host == split.documents(),
        "documents other than those of the split");
  const RowExchange exchange = KeyExchange(&split, attention.window);
  Attention::Inputs<Tensor> base{.q = in.q, .k = in.k, .v = in.v};
  if (!exchange.idle()) {
    const int64_t P = exchange.num_rows();
    base.k = WithRoom(in.k, P);
    base.v = WithRoom(in.v, P);
    InFlight keys = exchange.Fetch(in.k, base.k.Rows(0, P));
    InFlight values = exchange.Fetch(in.v, base.v.Rows(0, P));
    if (P > 0) {
      const ContextSplit::Offsets& offsets = split.WithRowsBefore(P);
      attention.cu_seqlens_k_host = offsets.host;
      attention.cu_seqlens_k = offsets.device;
      keys.pending.Wait();
      values.pending.Wait();
    } else {
      split.Keep(std::move(keys));
      split.Keep(std::move(values));
    }
  }
  if (saved != nullptr) saved->split = params.split;
  Attention::Outputs<Tensor> out =
      Attention::Forward(base, attention, saved == nullptr ? nullptr : &saved->attention);
  return {.o = std::move(out.o), .max_logit = std::move(out.max_logit)};
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const Attention::Inputs<Tensor>& in = saved.attention.in;
  const RowExchange exchange = KeyExchange(saved.split.get(), saved.attention.params.window);
  const int64_t P = exchange.num_rows(), all = P + in.q.dim(0);
  Attention::Inputs<GradRequest> attention_want;
  if (P == 0) attention_want.v = want.v;  // otherwise there are rows before those of its place
  const Attention::Inputs<Tensor> grad =
      Attention::Backward(saved.attention, {.o = d_out.o}, attention_want);
  if (exchange.idle()) return {.q = grad.q, .k = grad.k, .v = grad.v};
  const Inputs<Tensor> own{.q = grad.q, .k = grad.k.Rows(P, all), .v = grad.v.Rows(P, all)};
  InFlight keys = exchange.Return(grad.k.Rows(0, P));
  InFlight values = exchange.Return(grad.v.Rows(0, P));
  exchange.AddReturned(&keys, own.k);
  exchange.AddReturned(&values, own.v);
  saved.split->Keep(std::move(keys));
  saved.split->Keep(std::move(values));
  return own;
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  ContextSplit& split = *params.split;
  const Attention::Params& attention = params.attention;
  const int64_t P = KeyExchange(&split, attention.window).num_rows();
  const AttentionShape shape = {.num_docs = static_cast<int64_t>(split.documents().size()) - 1,
                                .num_queries = in.q.dim(0),
                                .num_keys = in.k.dim(0) + P,
                                .num_heads = in.q.dim(1),
                                .num_kv_heads = in.k.dim(1),
                                .key_dim = in.q.dim(2),
                                .value_dim = in.v.dim(2),
                                .window = attention.window,
                                .cu_seqlens_q = split.documents().data(),
                                .cu_seqlens_k = split.WithRowsBefore(P).host.data()};
  return Attention::EstimateCost(shape, in.q.dtype());
}

}  // namespace wyvern
