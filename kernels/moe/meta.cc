// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include <type_traits>

#include "kernels/moe/expert_plan.h"
#include "kernels/moe/grouped_matmul.h"
#include "kernels/moe/grouped_matmul_plan.h"
#include "kernels/moe/moe_balance.h"
#include "kernels/moe/moe_route.h"
#include "kernels/moe/moe_rows.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

void Note(const GroupedMatmulDesc& desc) {
  NotePlan("grouped_matmul", ChooseGroupedMatmul(desc, MetaGpu()));
}

}  // namespace

void MakeExpertPlan(MetaTag, const ExpertPlanParams&) {}
void AddExpertLoads(MetaTag, const ExpertLoadsParams&) {}
template <typename Io>
void GroupedMatmulFwd(MetaTag, const GroupedMatmulFwdParams<Io>& p) {
  Note({.shape = p.shape, .bf16 = std::is_same_v<Io, Bf16>});
}
template <typename Io>
void GroupedMatmulInputGrad(MetaTag, const GroupedMatmulInputGradParams<Io>& p) {
  Note({.shape = p.shape, .bf16 = std::is_same_v<Io, Bf16>});
}
template <typename In, typename Out>
void GroupedMatmulWeightGrad(MetaTag, const GroupedMatmulWeightGradParams<In, Out>& p) {
  Note({.shape = p.shape,
        .bf16 = std::is_same_v<In, Bf16>,
        .adds_to_bf16 = p.add && std::is_same_v<Out, Bf16>});
}
template <typename Acc>
void MoeBalanceFwd(MetaTag, const MoeBalanceFwdParams<Acc>&) {}
template <typename Acc>
void MoeBalanceBwd(MetaTag, const MoeBalanceBwdParams<Acc>&) {}
template <typename Io>
void MoeRouteFwd(MetaTag, const MoeRouteFwdParams<Io>&) {}
template <typename Io>
void MoeRouteBwd(MetaTag, const MoeRouteBwdParams<Io>&) {}
template <typename Io>
void MoeGather(MetaTag, const MoeGatherParams<Io>&) {}
template <typename Io>
void MoeScatter(MetaTag, const MoeScatterParams<Io>&) {}

template void GroupedMatmulFwd(MetaTag, const GroupedMatmulFwdParams<float>&);
template void GroupedMatmulFwd(MetaTag, const GroupedMatmulFwdParams<Bf16>&);
template void GroupedMatmulInputGrad(MetaTag, const GroupedMatmulInputGradParams<float>&);
template void GroupedMatmulInputGrad(MetaTag, const GroupedMatmulInputGradParams<Bf16>&);
template void GroupedMatmulWeightGrad(MetaTag, const GroupedMatmulWeightGradParams<float, float>&);
template void GroupedMatmulWeightGrad(MetaTag, const GroupedMatmulWeightGradParams<Bf16, Bf16>&);
template void GroupedMatmulWeightGrad(MetaTag, const GroupedMatmulWeightGradParams<Bf16, float>&);
template void MoeBalanceFwd(MetaTag, const MoeBalanceFwdParams<float>&);
template void MoeBalanceBwd(MetaTag, const MoeBalanceBwdParams<float>&);
template void MoeRouteFwd(MetaTag, const MoeRouteFwdParams<float>&);
template void MoeRouteFwd(MetaTag, const MoeRouteFwdParams<Bf16>&);
template void MoeRouteBwd(MetaTag, const MoeRouteBwdParams<float>&);
template void MoeRouteBwd(MetaTag, const MoeRouteBwdParams<Bf16>&);
template void MoeGather(MetaTag, const MoeGatherParams<float>&);
template void MoeGather(MetaTag, const MoeGatherParams<Bf16>&);
template void MoeScatter(MetaTag, const MoeScatterParams<float>&);
template void MoeScatter(MetaTag, const MoeScatterParams<Bf16>&);

}  // namespace wyvern
