#ifndef WYVERN_AUTOGRAD_PARALLEL_CONTEXT_DELTA_RULE_H_
#define WYVERN_AUTOGRAD_PARALLEL_CONTEXT_DELTA_RULE_H_

#include <memory>

#include "autograd/ops/delta_rule/gated_delta_rule.h"
#include "autograd/parallel/context_split.h"

namespace wyvern {

// GatedDeltaRule over a sequence of tokens that is cut over the ranks of a CP group, exactly
// (kernels/delta_rule/state_merge.h). A rank whose last document goes on tells the others what its
// tokens add to the state, and one that a document spans also their transition, both from
// state-only passes of the same op; a rank where a document goes on puts its state together from
// them, in the order of the tokens. Gradients of states go the other way. A rank that has a
// document's beginning needs no extra pass forward, one that has its end none backward, unless
// another document crosses its other boundary.
//
// All ranks of the group apply it; gradients of a_log and dt_bias are those of this rank's tokens.
struct ContextDeltaRule {
  static constexpr const char* kName = "context_delta_rule";
  static constexpr WorkClass kClass = WorkClass::kDeltaRule;
  template <class T>
  struct Inputs {
    // As in GatedDeltaRule, of this rank's T tokens.
    T q, k, v, beta, gate, a_log, dt_bias;
    FIELDS(q, k, v, beta, gate, a_log, dt_bias)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo,  Role::kIo, Role::kIo,
                                         Role::kIo, Role::kAcc, Role::kAcc};
  template <class T>
  struct Outputs {
    T o;  // [T, HV, V]
    FIELDS(o)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {
    GatedDeltaRule::Params rule;  // documents are those of the split; no final state
    std::shared_ptr<ContextSplit> split;
  };
  struct Saved {
    GatedDeltaRule::Saved rule;  // with the states that enter
    std::shared_ptr<ContextSplit> split;
    Tensor gathered;    // what the ranks said of their tokens
    Pending gathering;  // which may not have arrived yet
  };

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_PARALLEL_CONTEXT_DELTA_RULE_H_
