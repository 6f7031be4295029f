#include "layers/mixer.h"

#include "kernels/optim/qk_clip.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

void Mixer::RaiseMaxLogit(const Tensor& max_logit) const {
  Dispatch(max_logit.device(), max_logit.dtype(), [&](auto tag, auto type) {
    using Acc = AccOf<typename decltype(type)::type>;
    MaxInto(tag, MaxIntoParams<Acc>{.num_elements = max_logit.numel(),
                                    .x = max_logit.data<Acc>(),
                                    .y = max_logit_.data<Acc>(),
                                    .stream = ComputeStream()});
  });
}

}  // namespace wyvern
