// Rotary position embedding on halves (arXiv 2104.09864, the "NeoX" order).
//
//   a = pos theta^(-2i/R)
//   y[B + i]       = x[B + i] cos(a) - x[B + i + R/2] sin(a)          i < R/2
//   y[B + i + R/2] = x[B + i + R/2] cos(a) + x[B + i] sin(a)
//   y[j]           = x[j]                                             j < B, B + R <= j < D
//
// T tokens, H heads, D head dim, B first dim that rotates, R rotary dim (even). y may be x. Angles
// are formed and reduced modulo 2 pi in fp64, so that positions of a million lose nothing; sines
// and cosines are kept in Acc. The backward is the rotation by -a.
#ifndef WYVERN_KERNELS_ATTENTION_ROPE_H_
#define WYVERN_KERNELS_ATTENTION_ROPE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct RopeParams {
  int64_t num_tokens = 0, num_heads = 0, head_dim = 0, rotary_begin = 0, rotary_dim = 0;
  double theta = 10000;
  bool inverse = false;                // rotate by -a
  const int32_t* positions = nullptr;  // [T]
  int64_t x_stride = 0, y_stride = 0;  // elements from one token to the next; at least H D
  const Io* x = nullptr;               // [T, H, D]
  Io* y = nullptr;                     // [T, H, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
void RopeRotate(CpuTag, const RopeParams<Io>& p);
template <typename Io>
void RopeRotate(CudaTag, const RopeParams<Io>& p);
template <typename Io>
void RopeRotate(MetaTag, const RopeParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_ROPE_H_
