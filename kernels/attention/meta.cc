// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include <type_traits>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_plan.h"
#include "kernels/attention/latent_attention.h"
#include "kernels/attention/latent_attention_plan.h"
#include "kernels/attention/mla_keys.h"
#include "kernels/attention/rope.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {

template <typename Io>
void LatentAttentionFwd(MetaTag, const LatentAttentionParams<Io>& p) {
  const int64_t rows = p.num_queries * p.num_heads;
  if (rows == 0) return;
  const bool ranges = p.key_begins != nullptr;
  NotePlan("latent_attention", ChooseLatentAttention({.num_rows = ranges ? p.num_heads : rows,
                                                      .num_keys = p.num_keys,
                                                      .bf16 = std::is_same_v<Io, Bf16>,
                                                      .num_ranges = ranges ? p.num_queries : 0},
                                                     MetaGpu()));
}
template <typename Io>
void MlaKeysFwd(MetaTag, const MlaKeysFwdParams<Io>&) {}
template <typename Io>
void MlaKeysBwd(MetaTag, const MlaKeysBwdParams<Io>&) {}
template <typename Io>
void RopeRotate(MetaTag, const RopeParams<Io>&) {}
template <typename Io>
void AttentionFwd(MetaTag, const AttentionFwdParams<Io>& p) {
  NotePlan("attention", ChooseAttention({p.shape, kDTypeOf<Io>}, MetaGpu()));
}
template <typename Io>
void AttentionBwd(MetaTag, const AttentionBwdParams<Io>& p) {
  const AttentionPlan plan = ChooseAttention({p.shape, kDTypeOf<Io>}, MetaGpu());
  NotePlan("attention", plan);
  CountScratch(static_cast<size_t>(AttentionBackwardBytes(p.shape, plan)));
}

template void LatentAttentionFwd(MetaTag, const LatentAttentionParams<float>&);
template void LatentAttentionFwd(MetaTag, const LatentAttentionParams<Bf16>&);
template void MlaKeysFwd(MetaTag, const MlaKeysFwdParams<float>&);
template void MlaKeysFwd(MetaTag, const MlaKeysFwdParams<Bf16>&);
template void MlaKeysBwd(MetaTag, const MlaKeysBwdParams<float>&);
template void MlaKeysBwd(MetaTag, const MlaKeysBwdParams<Bf16>&);
template void RopeRotate(MetaTag, const RopeParams<float>&);
template void RopeRotate(MetaTag, const RopeParams<Bf16>&);
template void AttentionFwd(MetaTag, const AttentionFwdParams<float>&);
template void AttentionFwd(MetaTag, const AttentionFwdParams<Bf16>&);
template void AttentionBwd(MetaTag, const AttentionBwdParams<float>&);
template void AttentionBwd(MetaTag, const AttentionBwdParams<Bf16>&);

}  // namespace wyvern
