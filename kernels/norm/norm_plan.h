// How norms divide rows among threads, as values that can be printed and tested without a GPU.
//
// No choice asks for the GPU: the number of partial sums of d_weight decides the order of its sum,
// and a constant keeps results the same on every GPU.
#ifndef WYVERN_KERNELS_NORM_NORM_PLAN_H_
#define WYVERN_KERNELS_NORM_NORM_PLAN_H_

#include <cstdint>
#include <string>

namespace wyvern {

inline constexpr int kNormThreads = 256;  // of a block
// Blocks that share the sum over rows of d_weight at most: three on each of an H100's 132 SMs,
// which is what kNormResidentBlocks promises the compiler.
inline constexpr int kNormResidentBlocks = 3;
inline constexpr int64_t kMaxNormBlocks = 132 * kNormResidentBlocks;

struct RmsNormDesc {
  int64_t num_rows = 0, dim = 0;
  int access = 8;       // elements of Io in 16 bytes
  bool aligned = true;  // every pointer to 16 bytes
};

struct RmsNormPlan {
  int access = 1;                  // elements that a thread moves at once
  int row_threads = kNormThreads;  // share a row: a warp where rows are short, or the block
  int chunks = 0;  // accesses of a thread that stay in registers; 0: rows are read twice
  int64_t forward_blocks = 0, backward_blocks = 0;

  int rows_per_block() const { return kNormThreads / row_threads; }
  std::string ToString() const;
};
RmsNormPlan ChooseRmsNorm(const RmsNormDesc& desc);

// The most elements of a row that the backward of the gated norm serves.
inline constexpr int64_t kMaxGatedNormDim = 1024;

struct GatedRmsNormPlan {
  int lanes = 0;  // that hold a row in registers; 0: a warp a row, read twice
  int64_t forward_blocks = 0, backward_blocks = 0;

  std::string ToString() const;
};
GatedRmsNormPlan ChooseGatedRmsNorm(const RmsNormDesc& desc);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_NORM_NORM_PLAN_H_
