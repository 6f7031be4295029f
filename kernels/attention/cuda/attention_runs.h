#ifndef WYVERN_KERNELS_ATTENTION_CUDA_ATTENTION_RUNS_H_
#define WYVERN_KERNELS_ATTENTION_CUDA_ATTENTION_RUNS_H_

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_plan.h"

namespace wyvern {

// Whether cuDNN serves the first of the runs; where it refuses a later one, the tiled engine takes
// the keys from there on.
bool AttentionRunsSupported(const AttentionShape& shape, const AttentionRuns& runs);

// The attention of queries behind many cached keys by `runs`. What lse holds afterwards is in no
// order that a backward reads.
void AttentionByRuns(const AttentionFwdParams<Bf16>& p, const AttentionRuns& runs);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_CUDA_ATTENTION_RUNS_H_
