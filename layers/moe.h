#ifndef WYVERN_LAYERS_MOE_H_
#define WYVERN_LAYERS_MOE_H_

#include <memory>

#include "kernels/comm/communicator.h"
#include "layers/mlp.h"
#include "layers/packing.h"

namespace wyvern {

// Mixture of experts: y[t] = shared(x[t]) + sum over the chosen experts e of w[t, e]
// expert_e(x[t]), each expert a SwiGLU. The router, its choice and its weights:
// kernels/moe/moe_route.h. No token is dropped, however they are routed.
//
// Parameters, E experts of width I: router.weight [E, D], kept in the accumulation dtype;
// experts.{gate,up}.weight [E, I, D], experts.down.weight [E, D, I]; shared.* as of an Mlp, whose
// output a token's sigmoid(x w) scales with shared_gate.weight [1, D].
// ModelBuffer: router.bias [E], added to the scores for the choice alone; what moves it is
// UpdateBalance (trainer/optimizer/expert_balance.h), not a gradient.
//
// With a `group` of ranks each has E / size of the experts, the slices [rank E / size, ...) of
// their parameters: rows go to their experts and back (autograd/parallel/expert_exchange.h), and
// the shared experts are computed on the way there.
class Moe : public Module {
 public:
  explicit Moe(const ModelConfig& model, Communicator* group = nullptr);

  // x [T, D] -> [T, D]. The caller does not use x afterwards: its memory may be freed. Where a
  // backward follows, it adds this batch's loads to those of RecordTo; and with a balance_factor,
  // factor times the sequence-wise balance loss (kernels/moe/moe_balance.h; documents are its
  // sequences) is a term of what backward differentiates.
  Var Forward(Tape& tape, const Var& x, const Packing& packing, double balance_factor) const;

  // From now on every backward adds the rows of each expert to `loads` [E] int64, and the balance
  // loss to `balance_loss` [1] Acc.
  void RecordTo(const Tensor& loads, const Tensor& balance_loss);

  ModelBuffer* bias() const { return router_.bias(); }

 private:
  // Named children: "router" and "experts".
  class Router : public Module {
   public:
    explicit Router(const ModelConfig& model);
    const Var& weight() const { return weight_->var; }
    ModelBuffer* bias() const { return bias_; }

   private:
    Parameter* weight_;
    ModelBuffer* bias_;
  };
  class Projection : public Module {
   public:
    Projection(const ModelConfig& model, Communicator* group, int64_t out, int64_t in);
    Parameter* weight;
  };
  class Experts : public Module {
   public:
    Experts(const ModelConfig& model, Communicator* group);
    // rows [R, D] in the order of their experts -> [R, D].
    Var Forward(Tape& tape, const Var& rows, const Tensor& offsets) const;

   private:
    int64_t width_;
    Projection gate_, up_, down_;
    std::shared_ptr<ParameterGroup> gate_up_;  // all gates, then all ups
  };

  // The shared experts' part; undefined without them.
  Var Shared(Tape& tape, const Var& x) const;

  MoeConfig config_;
  Communicator* group_;
  Router router_;
  Experts experts_;
  std::unique_ptr<Mlp> shared_;          // null: none
  std::unique_ptr<Linear> shared_gate_;  // null: none
  Tensor loads_, balance_loss_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MOE_H_
