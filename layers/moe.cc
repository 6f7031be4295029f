#include "layers/moe.h"

#include "autograd/ops/moe/expert_plan.h"
#include "autograd/ops/moe/grouped_matmul.h"
#include "autograd/ops/moe/moe_balance.h"
#include "autograd/ops/moe/moe_combine.h"
#include "autograd/ops/moe/moe_permute.h"
#include "autograd/ops/moe/moe_route.h"
#include "autograd/ops/pointwise/row_gate.h"
#include "autograd/ops/pointwise/swiglu.h"
#include "autograd/parallel/expert_exchange.h"
#include "kernels/pointwise/elementwise.h"

namespace wyvern {

Moe::Router::Router(const ModelConfig& model)
    : weight_(AddParameter("weight", {.shape = {model.moe->num_experts, model.hidden_size},
                                      .kind = ParameterKind::kRouter,
                                      .init = InitNormal()})),
      bias_(AddBuffer("bias", {model.moe->num_experts})) {}

Moe::Projection::Projection(const ModelConfig& model, Communicator* group, int64_t out, int64_t in)
    : weight([&] {
        const int64_t E = model.moe->num_experts, ranks = group == nullptr ? 1 : group->size();
        CHECK(E % ranks == 0, E, " experts on ", ranks, " ranks");
        return AddParameter("weight",
                            {.shape = {E / ranks, out, in},
                             .kind = ParameterKind::kExperts,
                             .init = InitNormal(),
                             .whole_shape = {E, out, in},
                             .first_slice = group == nullptr ? 0 : group->rank() * (E / ranks)});
      }()) {}

Moe::Experts::Experts(const ModelConfig& model, Communicator* group)
    : width_(model.moe->intermediate_size),
      gate_(model, group, width_, model.hidden_size),
      up_(model, group, width_, model.hidden_size),
      down_(model, group, model.hidden_size, width_),
      gate_up_(ParameterGroup::Of({gate_.weight, up_.weight})) {
  AddChild("gate", &gate_);
  AddChild("up", &up_);
  AddChild("down", &down_);
}

Var Moe::Experts::Forward(Tape& tape, const Var& rows, const Tensor& offsets) const {
  const Var both =
      tape.Apply<GroupedMatMul>({.x = rows, .weight = gate_up_->var}, {.offsets = offsets}).y;
  tape.Discard({rows});
  const Var h =
      tape.Apply<SwiGlu>({.gate = both.Columns(0, width_), .up = both.Columns(width_, 2 * width_)},
                         {})
          .y;
  const Var out =
      tape.Apply<GroupedMatMul>({.x = h, .weight = down_.weight->var}, {.offsets = offsets}).y;
  tape.Discard({h});
  return out;
}

Moe::Moe(const ModelConfig& model, Communicator* group)
    : config_(*model.moe), group_(group), router_(model), experts_(model, group) {
  AddChild("router", &router_);
  AddChild("experts", &experts_);
  if (config_.shared_experts == 0) return;
  shared_ = std::make_unique<Mlp>(model, config_.shared_experts * config_.intermediate_size);
  AddChild("shared", shared_.get());
  if (!config_.shared_gate) return;
  shared_gate_ = std::make_unique<Linear>(model.hidden_size, 1);
  AddChild("shared_gate", shared_gate_.get());
}

void Moe::RecordTo(const Tensor& loads, const Tensor& balance_loss) {
  loads_ = loads;
  balance_loss_ = balance_loss;
}

Var Moe::Forward(Tape& tape, const Var& x, const Packing& packing, double balance_factor) const {
  const auto route = tape.Apply<MoeRoute>({.x = x, .weight = router_.weight()},
                                          {.experts_per_token = config_.experts_per_token,
                                           .num_groups = config_.groups,
                                           .top_groups = config_.top_groups,
                                           .score = config_.router,
                                           .renormalize = config_.renormalize,
                                           .scale = config_.scale,
                                           .bias = router_.bias()->value});
  const Tensor offsets = route.offsets.value(), position = route.position.value();
  // In the backward, which a segment that is computed twice has once.
  if (loads_.defined()) {
    tape.OnBackward([loads = loads_, offsets] { AddExpertLoads(offsets, loads); });
  }
  if (balance_factor != 0) {
    CHECK(packing.context == nullptr, "the balance loss of a sequence that is divided over ranks");
    const Var loss = tape.Apply<MoeBalance>({.scores = route.scores},
                                            {.cu_seqlens = packing.cu_seqlens,
                                             .experts_per_token = config_.experts_per_token,
                                             .factor = balance_factor})
                         .loss;
    tape.AddLoss(loss);
    if (balance_loss_.defined()) {
      tape.OnBackward([to = balance_loss_, value = loss.value()] {
        AddInto(to.device(), to.raw(), to.dtype(), value.raw(), value.dtype(), 1, ComputeStream());
      });
    }
  }
  const Var rows = tape.Apply<MoePermute>({.x = x}, {.position = position}).rows;
  Var shared, out;
  if (group_ == nullptr) {
    shared = Shared(tape, x);
    out = experts_.Forward(tape, rows, offsets);
  } else {
    const auto exchange = std::make_shared<ExpertExchange>(offsets, rows.value().dim(0), group_);
    const auto arrival = std::make_shared<Pending>();
    const Var arriving =
        tape.Apply<ExchangeRows>({.x = rows}, {.exchange = exchange, .pending = arrival}).y;
    shared = Shared(tape, x);
    arrival->Wait();
    const ExpertPlan& plan = exchange->plan();
    const Var sorted = tape.Apply<MoePermute>({.x = arriving}, {.position = plan.position}).rows;
    const Var done = experts_.Forward(tape, sorted, plan.offsets);
    const Var unsorted = tape.Apply<MoeCombine>({.rows = done}, {.position = plan.position}).y;
    out = tape.Apply<ExchangeRows>({.x = unsorted}, {.exchange = exchange, .back = true}).y;
  }
  const Var y = tape.Apply<MoeCombine>({.rows = out, .weights = route.weights, .shared = shared},
                                       {.position = position})
                    .y;
  tape.Discard({out});
  return y;
}

Var Moe::Shared(Tape& tape, const Var& x) const {
  if (shared_ == nullptr) {
    tape.Discard({x});
    return Var();
  }
  const Var gate = shared_gate_ == nullptr ? Var() : shared_gate_->Forward(tape, x);
  const Var y = shared_->Forward(tape, x);
  return gate.defined() ? tape.Apply<RowGate>({.x = y, .gate = gate}, {}).y : y;
}

}  // namespace wyvern
