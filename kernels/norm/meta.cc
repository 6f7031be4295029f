// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include "kernels/norm/gated_rms_norm.h"
#include "kernels/norm/l2_norm.h"
#include "kernels/norm/norm_plan.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

// Tensors of their own are aligned.
template <template <typename> class Params, typename Io>
RmsNormDesc DescOf(const Params<Io>& p) {
  return {.num_rows = p.num_rows, .dim = p.dim, .access = 16 / sizeof(Io)};
}

}  // namespace

template <typename Io>
void GatedRmsNormFwd(MetaTag, const GatedRmsNormFwdParams<Io>& p) {
  NotePlan("gated_rms_norm", ChooseGatedRmsNorm(DescOf(p)));
}
template <typename Io>
void GatedRmsNormBwd(MetaTag, const GatedRmsNormBwdParams<Io>& p) {
  NotePlan("gated_rms_norm", ChooseGatedRmsNorm(DescOf(p)));
}
template <typename Io>
void L2NormFwd(MetaTag, const L2NormFwdParams<Io>&) {}
template <typename Io>
void L2NormBwd(MetaTag, const L2NormBwdParams<Io>&) {}
template <typename Io>
void RmsNormFwd(MetaTag, const RmsNormFwdParams<Io>& p) {
  NotePlan("rms_norm", ChooseRmsNorm(DescOf(p)));
}
template <typename Io>
void RmsNormBwd(MetaTag, const RmsNormBwdParams<Io>& p) {
  NotePlan("rms_norm", ChooseRmsNorm(DescOf(p)));
}

template void GatedRmsNormFwd(MetaTag, const GatedRmsNormFwdParams<float>&);
template void GatedRmsNormFwd(MetaTag, const GatedRmsNormFwdParams<Bf16>&);
template void GatedRmsNormBwd(MetaTag, const GatedRmsNormBwdParams<float>&);
template void GatedRmsNormBwd(MetaTag, const GatedRmsNormBwdParams<Bf16>&);
template void L2NormFwd(MetaTag, const L2NormFwdParams<float>&);
template void L2NormFwd(MetaTag, const L2NormFwdParams<Bf16>&);
template void L2NormBwd(MetaTag, const L2NormBwdParams<float>&);
template void L2NormBwd(MetaTag, const L2NormBwdParams<Bf16>&);
template void RmsNormFwd(MetaTag, const RmsNormFwdParams<float>&);
template void RmsNormFwd(MetaTag, const RmsNormFwdParams<Bf16>&);
template void RmsNormBwd(MetaTag, const RmsNormBwdParams<float>&);
template void RmsNormBwd(MetaTag, const RmsNormBwdParams<Bf16>&);

}  // namespace wyvern
