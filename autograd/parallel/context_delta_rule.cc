#include "autograd/parallel/context_delta_rule.h"

#include "kernels/delta_rule/state_merge.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = ContextDeltaRule;
using Rule = GatedDeltaRule;

Rule::Inputs<Tensor> RuleInputs(const Op::Inputs<Tensor>& in) {
  return {.q = in.q,
          .k = in.k,
          .v = in.v,
          .beta = in.beta,
          .gate = in.gate,
          .a_log = in.a_log,
          .dt_bias = in.dt_bias};
}

// Tokens [begin, end) of `in`, without a state.
Rule::Inputs<Tensor> TokensOf(const Rule::Inputs<Tensor>& in, int64_t begin, int64_t end) {
  const auto rows = [&](const Tensor& t) { return t.defined() ? t.Rows(begin, end) : t; };
  return {.q = rows(in.q),
          .k = rows(in.k),
          .v = rows(in.v),
          .beta = rows(in.beta),
          .gate = rows(in.gate),
          .a_log = in.a_log,
          .dt_bias = in.dt_bias};
}

// The states that ranks exchange of one layer: S [HV, K, V] and, from ranks that a document spans,
// transitions M [HV, K, K], all in the accumulation dtype.
class States {
 public:
  States(ContextSplit* split, const Rule::Inputs<Tensor>& in)
      : split_(*split),
        device_(in.q.device()),
        acc_(AccDType(in.q.dtype())),
        heads_(in.v.dim(1)),
        key_dim_(in.q.dim(2)),
        value_dim_(in.v.dim(2)) {}

  int64_t state_size() const { return heads_ * key_dim_ * value_dim_; }
  int64_t map_size() const { return heads_ * key_dim_ * key_dim_; }

  // Forward, rank r gives its contribution and transition; backward, the gradient of its state.
  int64_t ForwardSize(int r) const {
    const ContextSplit::Part& part = split_.part(r);
    return (part.leaves() ? state_size() : 0) + (part.spans() ? map_size() : 0);
  }
  int64_t BackwardSize(int r) const { return split_.part(r).enters() ? state_size() : 0; }

  // `own` [...] of all ranks, one after another.
  InFlight Gather(const Tensor& own, bool backward) const {
    std::vector<int64_t> counts;
    for (int r = 0; r < split_.size(); ++r) {
      counts.push_back(backward ? BackwardSize(r) : ForwardSize(r));
    }
    const Tensor all = Tensor::Empty({SumOfCounts(counts, counts.size())}, acc_, device_);
    const Tensor mine = own.defined() ? own : Tensor::Empty({0}, acc_, device_);
    Pending pending = split_.group().AllGather(mine.raw(), all.raw(), counts, acc_);
    return {{all, mine}, std::move(pending)};
  }

  // The state [1, HV, K, V] that enters this rank's first document.
  Tensor Entering(const Tensor& gathered) const {
    Tensor state;
    for (const int r : split_.RanksBefore()) {
      const int64_t at = ForwardPlace(r);
      const Tensor contribution = gathered.Rows(at, at + state_size());
      state =
          state.defined() ? Merge(MapOf(r, gathered), state, contribution, false) : contribution;
    }
    return state.Reshape({1, heads_, key_dim_, value_dim_});
  }

  // The gradient [1, HV, K, V] of the state that leaves its last one.
  Tensor Leaving(const Tensor& gathered, const Tensor& gradients) const {
    Tensor d_state;
    const std::vector<int> ranks = split_.RanksAfter();
    for (auto r = ranks.rbegin(); r != ranks.rend(); ++r) {
      int64_t at = 0;
      for (int q = 0; q < *r; ++q) at += BackwardSize(q);
      const Tensor own = gradients.Rows(at, at + state_size());
      d_state = d_state.defined() ? Merge(MapOf(*r, gathered), d_state, own, true) : own;
    }
    return d_state.Reshape({1, heads_, key_dim_, value_dim_});
  }

  // [HV, K, K] as the state that enters.
  Tensor Identity() const {
    const Tensor map = Tensor::Empty({1, heads_, key_dim_, key_dim_}, acc_, device_);
    Dispatch(device_, acc_, [&](auto tag, auto type) {
      using Acc = typename decltype(type)::type;
      if constexpr (std::is_same_v<Acc, AccOf<Acc>>) {
        StateIdentity(tag, StateIdentityParams<Acc>{.num_heads = heads_,
                                                    .key_dim = key_dim_,
                                                    .out = map.data<Acc>(),
                                                    .stream = ComputeStream()});
      }
    });
    return map;
  }

 private:
  int64_t ForwardPlace(int r) const {
    int64_t at = 0;
    for (int q = 0; q < r; ++q) at += ForwardSize(q);
    return at;
  }

  Tensor MapOf(int r, const Tensor& gathered) const {
    const int64_t at = ForwardPlace(r) + state_size();
    return gathered.Rows(at, at + map_size());
  }

  Tensor Merge(const Tensor& map, const Tensor& state, const Tensor& add, bool transpose) const {
    const Tensor out = Tensor::Empty({state_size()}, acc_, device_);
    Dispatch(device_, acc_, [&](auto tag, auto type) {
      using Acc = typename decltype(type)::type;
      if constexpr (std::is_same_v<Acc, AccOf<Acc>>) {
        StateMerge(tag, StateMergeParams<Acc>{.num_heads = heads_,
                                              .key_dim = key_dim_,
                                              .value_dim = value_dim_,
                                              .transpose = transpose,
                                              .map = map.data<Acc>(),
                                              .state = state.data<Acc>(),
                                              .add = add.data<Acc>(),
                                              .out = out.data<Acc>(),
                                              .stream = ComputeStream()});
      }
    });
    return out;
  }

  const ContextSplit& split_;
  Device device_;
  DType acc_;
  int64_t heads_, key_dim_, value_dim_;
};

// For a state of one document among those of this rank: zeros for the others.
Tensor AmongDocuments(const Tensor& state, int64_t document, int64_t num_documents) {
  if (num_documents == 1) return state;
  Shape shape = state.shape();
  shape[0] = num_documents;
  const Tensor all = Tensor::Zeros(std::move(shape), state.dtype(), state.device());
  all.Rows(document, document + 1).CopyFrom(state);
  return all;
}

// The state that the last document's tokens here leave, having entered them with none, and behind
// it, if the document spans this rank, their transition.
Tensor StateOnly(const Rule::Inputs<Tensor>& in, const Rule::Params& params, ContextSplit* split,
                 const States& states) {
  const ContextSplit::Offsets& offsets = split->last_document();
  Rule::Params last = params;
  last.cu_seqlens = offsets.device;
  last.cu_seqlens_host = offsets.host;
  last.output_final_state = true;
  const int64_t T = in.q.dim(0);
  Rule::Inputs<Tensor> tokens = TokensOf(in, T - offsets.host.back(), T);
  const Tensor state = Rule::Forward(tokens, last, nullptr).ht.Reshape({-1});
  if (!split->own().spans()) return state;
  tokens.v = Tensor::Zeros({T, in.v.dim(1), in.q.dim(2)}, in.v.dtype(), in.v.device());
  tokens.h0 = states.Identity();
  const Tensor map = Rule::Forward(tokens, last, nullptr).ht.Reshape({-1});
  const Tensor both = Tensor::Empty({state.numel() + map.numel()}, state.dtype(), state.device());
  both.Rows(0, state.numel()).CopyFrom(state);
  both.Rows(state.numel(), both.numel()).CopyFrom(map);
  return both;
}

// The gradient of the state that enters, from the first document's tokens here alone.
Tensor StateGradientOnly(const Op::Saved& saved, const Tensor& d_o) {
  Rule::Inputs<GradRequest> want;
  want.h0.wanted = true;
  if (saved.split->own().one_document) {
    return Rule::Backward(saved.rule, {.o = d_o}, want).h0.Reshape({-1});
  }
  const ContextSplit::Offsets& offsets = saved.split->first_document();
  const int64_t end = offsets.host.back();
  Rule::Saved first{.in = TokensOf(saved.rule.in, 0, end), .params = saved.rule.params};
  first.in.h0 = saved.rule.in.h0.Rows(0, 1);
  first.params.cu_seqlens = offsets.device;
  first.params.cu_seqlens_host = offsets.host;
  return Rule::Backward(first, {.o = d_o.Rows(0, end)}, want).h0.Reshape({-1});
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  ContextSplit& split = *params.split;
  CHECK(params.rule.cu_seqlens_host == split.documents() && !params.rule.output_final_state,
        "documents other than those of the split, or a final state");
  Rule::Saved* const rule_saved = saved == nullptr ? nullptr : &saved->rule;
  if (saved != nullptr) saved->split = params.split;
  Rule::Inputs<Tensor> rule_in = RuleInputs(in);
  if (!split.crossed()) return {.o = Rule::Forward(rule_in, params.rule, rule_saved).o};

  const ContextSplit::Part& own = split.own();
  const int64_t N = static_cast<int64_t>(split.documents().size()) - 1;
  const States states(&split, rule_in);
  Outputs<Tensor> out;
  Tensor given;
  if (own.leaves() && !own.enters()) {
    Rule::Params with_state = params.rule;
    with_state.output_final_state = true;
    const Rule::Outputs<Tensor> all = Rule::Forward(rule_in, with_state, rule_saved);
    out.o = all.o;
    given = all.ht.Rows(N - 1, N).Reshape({-1});
  } else if (own.leaves()) {
    given = StateOnly(rule_in, params.rule, &split, states);
  }
  InFlight gathering = states.Gather(given, /*backward=*/false);
  const Tensor gathered = gathering.buffers.front();
  if (saved != nullptr) {
    saved->gathered = gathered;
    saved->gathering = gathering.pending;
  }
  if (own.enters()) {
    gathering.pending.Wait();
    rule_in.h0 = AmongDocuments(states.Entering(gathered), 0, N);
  } else {
    split.Keep(std::move(gathering));
  }
  if (!out.o.defined()) out.o = Rule::Forward(rule_in, params.rule, rule_saved).o;
  return out;
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  ContextSplit& split = *saved.split;
  const ContextSplit::Part& own = split.own();
  const int64_t N = static_cast<int64_t>(split.documents().size()) - 1;
  Rule::Inputs<GradRequest> rule_want{.q = want.q,
                                      .k = want.k,
                                      .v = want.v,
                                      .beta = want.beta,
                                      .gate = want.gate,
                                      .a_log = want.a_log,
                                      .dt_bias = want.dt_bias};
  Rule::Outputs<Tensor> d_rule{.o = d_out.o};
  Rule::Inputs<Tensor> grad;
  bool done = false;
  if (split.crossed()) {
    const States states(&split, saved.rule.in);
    const bool alone = !own.leaves();  // nothing comes from the ranks behind
    Tensor given;
    if (own.enters() && alone) {
      rule_want.h0.wanted = true;
      grad = Rule::Backward(saved.rule, d_rule, rule_want);
      done = true;
      given = grad.h0.Rows(0, 1).Reshape({-1});
    } else if (own.enters()) {
      given = StateGradientOnly(saved, d_out.o);
    }
    InFlight gathering = states.Gather(given, /*backward=*/true);
    if (alone) {
      split.Keep(std::move(gathering));
    } else {
      Pending(saved.gathering).Wait();
      gathering.pending.Wait();
      const Tensor d_state = states.Leaving(saved.gathered, gathering.buffers.front());
      d_rule.ht = AmongDocuments(d_state, N - 1, N);
    }
  }
  if (!done) grad = Rule::Backward(saved.rule, d_rule, rule_want);
  return {.q = grad.q,
          .k = grad.k,
          .v = grad.v,
          .beta = grad.beta,
          .gate = grad.gate,
          .a_log = grad.a_log,
          .dt_bias = grad.dt_bias};
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  return Rule::EstimateCost(RuleInputs(in), params.rule);
}

}  // namespace wyvern
