// Keys of multi-head latent attention (arXiv 2405.04434, eq. 13 to 16): each head's own part, and
// behind it one part that all heads share.
//
//   k[t, h] = [own[t, h] | shared[t]]
//   d_own[t, h] = dk[t, h, : P]       d_shared[t] = sum over h of dk[t, h, P :], heads in order
//
// T tokens, H heads, P and R dims of the own and of the shared part. Sums in Acc.
#ifndef WYVERN_KERNELS_ATTENTION_MLA_KEYS_H_
#define WYVERN_KERNELS_ATTENTION_MLA_KEYS_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

struct MlaKeysShape {
  int64_t num_tokens = 0, num_heads = 0, own_dim = 0, shared_dim = 0;
  int64_t own_stride = 0, shared_stride = 0;  // elements from one token to the next
};

template <typename Io>
struct MlaKeysFwdParams {
  MlaKeysShape shape;
  const Io* own = nullptr;     // [T, H, P]
  const Io* shared = nullptr;  // [T, R]
  Io* k = nullptr;             // [T, H, P + R]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct MlaKeysBwdParams {
  MlaKeysShape shape;      // strides of the gradients
  const Io* dk = nullptr;  // [T, H, P + R]
  Io* d_own = nullptr;     // [T, H, P]
  Io* d_shared = nullptr;  // [T, R]
  StreamHandle stream = nullptr;
};

template <typename Io>
void MlaKeysFwd(CpuTag, const MlaKeysFwdParams<Io>& p);
template <typename Io>
void MlaKeysBwd(CpuTag, const MlaKeysBwdParams<Io>& p);
template <typename Io>
void MlaKeysFwd(CudaTag, const MlaKeysFwdParams<Io>& p);
template <typename Io>
void MlaKeysBwd(CudaTag, const MlaKeysBwdParams<Io>& p);
template <typename Io>
void MlaKeysFwd(MetaTag, const MlaKeysFwdParams<Io>& p);
template <typename Io>
void MlaKeysBwd(MetaTag, const MlaKeysBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_MLA_KEYS_H_
