// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include "kernels/optim/adamw.h"
#include "kernels/optim/grad_norm.h"
#include "kernels/optim/muon.h"
#include "kernels/optim/qk_clip.h"

namespace wyvern {

template <typename Io>
void AdamW(MetaTag, const AdamWParams<Io>&) {}
template <typename Acc>
void GradNorm(MetaTag, const GradNormParams<Acc>&) {}
template <typename Acc>
void FinishGradNorm(MetaTag, const FinishGradNormParams<Acc>&) {}
template <typename T>
void MuonMomentum(MetaTag, const MuonMomentumParams<T>&) {}
template <typename T>
void NormalizeMatrices(MetaTag, const NormalizeMatricesParams<T>&) {}
template <typename T>
void MuonApply(MetaTag, const MuonApplyParams<T>&) {}
template <typename Io>
void QkClip(MetaTag, const QkClipParams<Io>&) {}
template <typename Acc>
void MaxInto(MetaTag, const MaxIntoParams<Acc>&) {}

template void AdamW(MetaTag, const AdamWParams<float>&);
template void AdamW(MetaTag, const AdamWParams<Bf16>&);
template void GradNorm(MetaTag, const GradNormParams<float>&);
template void FinishGradNorm(MetaTag, const FinishGradNormParams<float>&);
template void MuonMomentum(MetaTag, const MuonMomentumParams<Bf16>&);
template void NormalizeMatrices(MetaTag, const NormalizeMatricesParams<Bf16>&);
template void MuonApply(MetaTag, const MuonApplyParams<Bf16>&);
template void QkClip(MetaTag, const QkClipParams<float>&);
template void QkClip(MetaTag, const QkClipParams<Bf16>&);
template void MaxInto(MetaTag, const MaxIntoParams<float>&);

}  // namespace wyvern
