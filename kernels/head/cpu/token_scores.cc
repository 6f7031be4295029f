#include "kernels/head/token_scores.h"

#include <cmath>

namespace wyvern {

void TokenScores(CpuTag, const TokenScoresParams& p) {
  const int64_t V = p.vocab_size;
#pragma omp parallel for schedule(static) if (p.num_rows * V > 16384)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const float* logits = p.logits + t * V;
    int64_t best = -1;
    for (int64_t i = 0; i < V; ++i) {
      if (std::isnan(logits[i])) continue;
      if (best < 0 || logits[i] > logits[best]) best = i;
    }
    p.log_likelihood[t] = 0;
    p.most_likely[t] = -1;
    if (best < 0 || std::isinf(logits[best])) continue;
    const double largest = logits[best];
    double sum = 0;
    for (int64_t i = 0; i < V; ++i) {
      if (!std::isnan(logits[i])) sum += std::exp(logits[i] - largest);
    }
    const float own = logits[p.tokens[t]];
    p.log_likelihood[t] =
        (std::isnan(own) ? -static_cast<double>(INFINITY) : own - largest) - std::log(sum);
    p.most_likely[t] = static_cast<int32_t>(best);
  }
}

}  // namespace wyvern
