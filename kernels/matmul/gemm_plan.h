// Which of cuBLASLt's kernels multiplies, as a value that can be printed and tested without a GPU.
#ifndef WYVERN_KERNELS_MATMUL_GEMM_PLAN_H_
#define WYVERN_KERNELS_MATMUL_GEMM_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/runtime/gpu.h"

namespace wyvern {

// `batch` GEMMs as cuBLASLt sees them, whose matrices are column-major: D [m, n], k long sums.
struct GemmDesc {
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool bf16 = true;      // the operands
  bool tileable = true;  // 16-byte aligned, and no weight gradient
  // The share of its waves that the library's own choice fills. Without the library: all.
  double heuristic_fill = 1;
};

// A tile of the library's warp-specialised kernels for sm_90; an index of kGemmTiles.
struct GemmTile {
  int64_t rows, columns;
  // Rate of a full wave beside the first tile's, for short and for long sums: measured on an H100
  // at its power limit over the GEMMs of models of 0.3 to 1.3 billion parameters, forward and
  // both gradients, of 4,096 to 32,768 tokens (cuBLAS 13.1). The smaller tiles hide the end of one
  // behind the sums of the next.
  double short_rate, long_rate;
};
inline constexpr GemmTile kGemmTiles[] = {
    {128, 160, 1.00, 1.00}, {176, 128, 0.98, 0.98}, {128, 128, 0.98, 0.98}, {256, 128, 0.93, 0.99}};
inline constexpr int kNumGemmTiles = sizeof(kGemmTiles) / sizeof(GemmTile);

struct GemmPlan {
  GemmDesc desc;
  int tile = -1;    // of kGemmTiles; -1: the library's own choice
  double rate = 0;  // what the model expects of it, 1 for full waves of the first tile

  std::string ToString() const;
};

// The choices that should be faster than the library's, best first, and then that one. The first
// one that the library has for the problem is taken. A pure function; nothing is timed. None of the
// tiles splits sums.
std::vector<GemmPlan> ChooseGemm(const GemmDesc& desc, const GpuInfo& gpu);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MATMUL_GEMM_PLAN_H_
