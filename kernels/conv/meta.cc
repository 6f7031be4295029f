// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include "kernels/conv/short_conv.h"
#include "kernels/conv/short_conv_plan.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {

template <typename Io>
void ShortConvFwd(MetaTag, const ShortConvFwdParams<Io>& p) {
  NotePlan("short_conv", ChooseShortConv({.num_tokens = p.num_tokens,
                                          .dim = p.dim,
                                          .access = 16 / sizeof(Io),
                                          .blocks_per_sm = MinShortConvBlocks(false, p.width)},
                                         MetaGpu()));
}
template <typename Io>
void ShortConvBwd(MetaTag, const ShortConvBwdParams<Io>& p) {
  NotePlan("short_conv", ChooseShortConv({.num_tokens = p.num_tokens,
                                          .dim = p.dim,
                                          .access = kShortConvBackwardAccess,
                                          .blocks_per_sm = MinShortConvBlocks(true, p.width)},
                                         MetaGpu()));
}

template void ShortConvFwd(MetaTag, const ShortConvFwdParams<float>&);
template void ShortConvFwd(MetaTag, const ShortConvFwdParams<Bf16>&);
template void ShortConvBwd(MetaTag, const ShortConvBwdParams<float>&);
template void ShortConvBwd(MetaTag, const ShortConvBwdParams<Bf16>&);

}  // namespace wyvern
