// How a token is drawn from logits.
#ifndef WYVERN_TRAINER_INFERENCE_SAMPLING_H_
#define WYVERN_TRAINER_INFERENCE_SAMPLING_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace wyvern {

struct SamplingOptions {
  double temperature = 1;  // logits are divided by it; 0: greedy, the most likely token
  int64_t top_k = 0;       // only the k most likely tokens; 0 or more than there are: all
  double top_p = 1;        // of these, the fewest that reach this probability together; in (0, 1]
  uint64_t seed = 1;

  // InvalidArgument that names the option.
  absl::Status Validate() const;
  bool operator==(const SamplingOptions&) const = default;
};

// Draws a token from fp32 logits; a pure function of logits, options and `position`, the token's
// index in its sequence. Equal logits are ordered by token id, the lower first; a NaN is never
// taken. Requires valid options and one logit at least that is not NaN.
int32_t SampleToken(absl::Span<const float> logits, const SamplingOptions& options,
                    uint64_t position);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INFERENCE_SAMPLING_H_
