// The standard error of a perplexity, estimated as lm-eval does it.
#ifndef WYVERN_TRAINER_EVALUATION_BOOTSTRAP_H_
#define WYVERN_TRAINER_EVALUATION_BOOTSTRAP_H_

#include <cstdint>

#include "absl/types/span.h"

namespace wyvern {

// The sample deviation of exp(-mean) over `rounds` thousand drawings with replacement, each of as
// many values as there are. The draws are those of Python's random.Random(i).choices for the round
// i, so the result is lm-eval's but for the rounding of its sums. Two values at least.
double PerplexityError(absl::Span<const double> log_likelihoods, int64_t rounds = 100);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_BOOTSTRAP_H_
