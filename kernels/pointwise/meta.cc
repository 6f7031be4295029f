// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include "kernels/pointwise/draw.h"
#include "kernels/pointwise/row_gate.h"
#include "kernels/pointwise/sigmoid_gate.h"
#include "kernels/pointwise/silu.h"
#include "kernels/pointwise/swiglu.h"

namespace wyvern {

template <typename Acc>
void DrawNormal(MetaTag, const DrawNormalParams<Acc>&) {}
template <typename Io>
void RowGateFwd(MetaTag, const RowGateFwdParams<Io>&) {}
template <typename Io>
void RowGateBwd(MetaTag, const RowGateBwdParams<Io>&) {}
template <typename Io>
void SigmoidGateFwd(MetaTag, const SigmoidGateFwdParams<Io>&) {}
template <typename Io>
void SigmoidGateBwd(MetaTag, const SigmoidGateBwdParams<Io>&) {}
template <typename Io>
void SiluFwd(MetaTag, const SiluFwdParams<Io>&) {}
template <typename Io>
void SiluBwd(MetaTag, const SiluBwdParams<Io>&) {}
template <typename Io>
void SwiGluFwd(MetaTag, const SwiGluFwdParams<Io>&) {}
template <typename Io>
void SwiGluBwd(MetaTag, const SwiGluBwdParams<Io>&) {}

template void DrawNormal(MetaTag, const DrawNormalParams<float>&);
template void RowGateFwd(MetaTag, const RowGateFwdParams<float>&);
template void RowGateFwd(MetaTag, const RowGateFwdParams<Bf16>&);
template void RowGateBwd(MetaTag, const RowGateBwdParams<float>&);
template void RowGateBwd(MetaTag, const RowGateBwdParams<Bf16>&);
template void SigmoidGateFwd(MetaTag, const SigmoidGateFwdParams<float>&);
template void SigmoidGateFwd(MetaTag, const SigmoidGateFwdParams<Bf16>&);
template void SigmoidGateBwd(MetaTag, const SigmoidGateBwdParams<float>&);
template void SigmoidGateBwd(MetaTag, const SigmoidGateBwdParams<Bf16>&);
template void SiluFwd(MetaTag, const SiluFwdParams<float>&);
template void SiluFwd(MetaTag, const SiluFwdParams<Bf16>&);
template void SiluBwd(MetaTag, const SiluBwdParams<float>&);
template void SiluBwd(MetaTag, const SiluBwdParams<Bf16>&);
template void SwiGluFwd(MetaTag, const SwiGluFwdParams<float>&);
template void SwiGluFwd(MetaTag, const SwiGluFwdParams<Bf16>&);
template void SwiGluBwd(MetaTag, const SwiGluBwdParams<float>&);
template void SwiGluBwd(MetaTag, const SwiGluBwdParams<Bf16>&);

}  // namespace wyvern
