// How likely given tokens are by rows of logits.
//
//   most_likely[t]    = the lowest i with the largest logits[t, i]; -1 if that is not finite
//   log_likelihood[t] = logits[t, tokens[t]] - log sum_i exp(logits[t, i])
//
// T rows of V logits, row-major. A NaN counts as -infinity. The sums are in fp64 and of a fixed
// order on one kind of device; each row's result depends on that row alone. Where most_likely is
// -1, log_likelihood means nothing.
#ifndef WYVERN_KERNELS_HEAD_TOKEN_SCORES_H_
#define WYVERN_KERNELS_HEAD_TOKEN_SCORES_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"

namespace wyvern {

struct TokenScoresParams {
  int64_t num_rows = 0, vocab_size = 0;
  const float* logits = nullptr;     // [T, V]
  const int32_t* tokens = nullptr;   // [T], each in [0, V)
  double* log_likelihood = nullptr;  // [T]
  int32_t* most_likely = nullptr;    // [T]
  StreamHandle stream = nullptr;
};

void TokenScores(CpuTag, const TokenScoresParams& p);
void TokenScores(CudaTag, const TokenScoresParams& p);
void TokenScores(MetaTag, const TokenScoresParams& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_HEAD_TOKEN_SCORES_H_
