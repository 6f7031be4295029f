// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include "kernels/delta_rule/gated_delta_rule.h"
#include "kernels/delta_rule/plan.h"
#include "kernels/delta_rule/state_merge.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

template <typename Io>
DeltaRulePlan PlanOf(const GatedDeltaRuleInputs<Io>& in, bool gradient) {
  DeltaRuleDesc desc = DescOf(in, gradient);
  desc.aligned = true;  // as tensors of their own are; those of the meta device lie nowhere
  return ChooseDeltaRule(desc, MetaGpu());
}

}  // namespace

template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(MetaTag, const GatedDeltaRuleInputs<Io>& in) {
  return static_cast<size_t>(PlanOf(in, /*gradient=*/true).workspace_bytes);
}
template <typename Io>
void GatedDeltaRuleFwd(MetaTag, const GatedDeltaRuleFwdParams<Io>& p) {
  NotePlan("gated_delta_rule", PlanOf(p.in, p.workspace != nullptr));
}
template <typename Io>
void GatedDeltaRuleBwd(MetaTag, const GatedDeltaRuleBwdParams<Io>& p) {
  const DeltaRulePlan plan = PlanOf(p.in, /*gradient=*/true);
  NotePlan("gated_delta_rule", plan);
  CountScratch(static_cast<size_t>(plan.backward_bytes));
}
template <typename Acc>
void StateMerge(MetaTag, const StateMergeParams<Acc>&) {}
template <typename Acc>
void StateIdentity(MetaTag, const StateIdentityParams<Acc>&) {}

template size_t GatedDeltaRuleWorkspaceBytes(MetaTag, const GatedDeltaRuleInputs<float>&);
template size_t GatedDeltaRuleWorkspaceBytes(MetaTag, const GatedDeltaRuleInputs<Bf16>&);
template void GatedDeltaRuleFwd(MetaTag, const GatedDeltaRuleFwdParams<float>&);
template void GatedDeltaRuleFwd(MetaTag, const GatedDeltaRuleFwdParams<Bf16>&);
template void GatedDeltaRuleBwd(MetaTag, const GatedDeltaRuleBwdParams<float>&);
template void GatedDeltaRuleBwd(MetaTag, const GatedDeltaRuleBwdParams<Bf16>&);
template void StateMerge(MetaTag, const StateMergeParams<float>&);
template void StateIdentity(MetaTag, const StateIdentityParams<float>&);

}  // namespace wyvern
