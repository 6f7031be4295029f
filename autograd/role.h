#ifndef WYVERN_AUTOGRAD_ROLE_H_
#define WYVERN_AUTOGRAD_ROLE_H_

namespace wyvern {

// Which element type an input or output takes: the activations' (bf16 or fp32 on the GPU), the
// accumulation type that goes with it (kernels/runtime/dtype.h, AccOf), or, of an output that has
// no gradient, int32.
enum class Role { kIo, kAcc, kIndex };

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_ROLE_H_
