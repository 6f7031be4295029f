#include "kernels/optim/qk_clip.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename Io>
void QkClip(CpuTag, const QkClipParams<Io>& p) {
  if (p.finite != nullptr && *p.finite == 0) return;
  const Io tau = static_cast<Io>(p.tau);
  for (const QkClipTensor<Io>& t : p.tensors) {
    ForEachBlock(t.num_elements, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t head = (t.first + i) / t.head_elements;
        const int64_t in_head = (t.first + i) % t.head_elements;
        const Io largest = t.max_logit[head];
        if (!(largest > tau) || in_head < t.begin || in_head >= t.end) continue;
        t.master[i] *= std::pow(tau / largest, static_cast<Io>(t.exponent));
        if (t.copy != nullptr) t.copy[i] = t.master[i];
      }
    });
  }
}

template <typename Acc>
void MaxInto(CpuTag, const MaxIntoParams<Acc>& p) {
  for (int64_t i = 0; i < p.num_elements; ++i) p.y[i] = std::max(p.y[i], p.x[i]);
}

template void QkClip(CpuTag, const QkClipParams<float>&);
template void QkClip(CpuTag, const QkClipParams<double>&);
template void MaxInto(CpuTag, const MaxIntoParams<float>&);
template void MaxInto(CpuTag, const MaxIntoParams<double>&);

}  // namespace wyvern
