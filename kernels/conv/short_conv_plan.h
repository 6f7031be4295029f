// How the short convolution divides tokens and channels among blocks, as a value that can be
// printed and tested without a GPU.
#ifndef WYVERN_KERNELS_CONV_SHORT_CONV_PLAN_H_
#define WYVERN_KERNELS_CONV_SHORT_CONV_PLAN_H_

#include <cstdint>
#include <string>

#include "kernels/runtime/gpu.h"

namespace wyvern {

inline constexpr int kShortConvThreads = 128;  // of a block
inline constexpr int kShortConvBatch = 4;      // tokens that are copied together

// Channels of a thread of the backward where addresses allow it; 8 would leave too few threads per
// SM. Those of the forward fill 16 bytes.
inline constexpr int kShortConvBackwardAccess = 4;

// Blocks that are resident on an SM at least, as the kernels' launch bounds ask the compiler for.
constexpr int MinShortConvBlocks(bool backward, int64_t width) {
  if (width > 4) return 2;
  return backward ? 5 : 4;
}

struct ShortConvDesc {
  int64_t num_tokens = 0, dim = 0;
  int access = 1;         // channels of a thread
  int blocks_per_sm = 1;  // resident; the driver knows, without a GPU MinShortConvBlocks
};

// Each block walks a tile of tokens; tiles and blocks of channels fill the GPU once without a rest.
struct ShortConvPlan {
  int64_t tile = 0, num_tiles = 0;  // tokens; the backward has a partial sum of d_weight of each
  int64_t across = 0;               // blocks of channels

  std::string ToString() const;
};

// d_weight is summed in another order on a GPU with another number of SMs.
ShortConvPlan ChooseShortConv(const ShortConvDesc& desc, const GpuInfo& gpu);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_CONV_SHORT_CONV_PLAN_H_
