// Wyvern's own attention kernels behind the choice in kernels/attention/attention_plan.h: any
// lengths, windows and head dims up to 256. bf16 GEMMs run on tensor cores, fp32 ones in exact
// fp32.
#ifndef WYVERN_KERNELS_ATTENTION_CUDA_ATTENTION_TILED_H_
#define WYVERN_KERNELS_ATTENTION_CUDA_ATTENTION_TILED_H_

#include <algorithm>

#include "kernels/attention/attention_merge.h"
#include "kernels/attention/attention_plan.h"

namespace wyvern::attention {

// A launch as the host knows it.
struct Launch {
  int padded_dim = 0;
  int max_queries = 0, max_keys = 0;  // of any document
  bool vectors = false;               // 16-byte copies fit every row
  LseStrides lse;                     // behind the place of a document's first query
  float* row_max = nullptr;           // [H, Tq] the largest logit of each row, written if not null
};

void TiledForward(const AttentionFwdParams<Bf16>& p, const Launch& launch);
void TiledForward(const AttentionFwdParams<float>& p, const Launch& launch);
// `delta` [Tq, H] holds do . o of each row.
void TiledBackward(const AttentionBwdParams<Bf16>& p, const float* delta, const Launch& launch);
void TiledBackward(const AttentionBwdParams<float>& p, const float* delta, const Launch& launch);

}  // namespace wyvern::attention

#endif  // WYVERN_KERNELS_ATTENTION_CUDA_ATTENTION_TILED_H_
