// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves and tell the plan that they would follow.
#include "kernels/linear_attention/gated_linear_attention.h"
#include "kernels/linear_attention/gated_linear_attention_plan.h"
#include "kernels/linear_attention/mamba_inputs.h"
#include "kernels/linear_attention/mamba_output.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {

template <typename Io>
void GatedLinearAttentionFwd(MetaTag, const GatedLinearAttentionFwdParams<Io>& p) {
  NotePlan("gated_linear_attention", ChooseLinearAttention(p.in));
  CountScratch(static_cast<size_t>(LinearAttentionScratchBytes(p.in, /*backward=*/false)));
}
template <typename Io>
void GatedLinearAttentionBwd(MetaTag, const GatedLinearAttentionBwdParams<Io>& p) {
  NotePlan("gated_linear_attention backward", ChooseLinearAttention(p.in));
  CountScratch(static_cast<size_t>(LinearAttentionScratchBytes(p.in, /*backward=*/true)));
}
template <typename Io>
void MambaInputsFwd(MetaTag, const MambaInputsFwdParams<Io>&) {}
template <typename Io>
void MambaInputsBwd(MetaTag, const MambaInputsBwdParams<Io>&) {}
template <typename Io>
void MambaOutputFwd(MetaTag, const MambaOutputFwdParams<Io>&) {}
template <typename Io>
void MambaOutputBwd(MetaTag, const MambaOutputBwdParams<Io>&) {}

template void GatedLinearAttentionFwd(MetaTag, const GatedLinearAttentionFwdParams<float>&);
template void GatedLinearAttentionFwd(MetaTag, const GatedLinearAttentionFwdParams<Bf16>&);
template void GatedLinearAttentionBwd(MetaTag, const GatedLinearAttentionBwdParams<float>&);
template void GatedLinearAttentionBwd(MetaTag, const GatedLinearAttentionBwdParams<Bf16>&);
template void MambaInputsFwd(MetaTag, const MambaInputsFwdParams<float>&);
template void MambaInputsFwd(MetaTag, const MambaInputsFwdParams<Bf16>&);
template void MambaInputsBwd(MetaTag, const MambaInputsBwdParams<float>&);
template void MambaInputsBwd(MetaTag, const MambaInputsBwdParams<Bf16>&);
template void MambaOutputFwd(MetaTag, const MambaOutputFwdParams<float>&);
template void MambaOutputFwd(MetaTag, const MambaOutputFwdParams<Bf16>&);
template void MambaOutputBwd(MetaTag, const MambaOutputBwdParams<float>&);
template void MambaOutputBwd(MetaTag, const MambaOutputBwdParams<Bf16>&);

}  // namespace wyvern
