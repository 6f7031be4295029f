// The log-likelihood of a whole text, in windows of a limited length.
#ifndef WYVERN_TRAINER_SCORING_ROLLING_H_
#define WYVERN_TRAINER_SCORING_ROLLING_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "trainer/scoring/scorer.h"

namespace wyvern {

// Requests whose continuations are the parts of `text`, each token once and in order. The first
// one's context is `prefix`, bos or eos. No window (context and continuation but its last token)
// is longer than `max_length` tokens. The windows are those of lm-eval's get_rolling_token_windows
// with one token of context and of its make_disjoint_window: each follows the last token of the one
// before it, and the last window reaches back as far as it may. 0: one window, which is exact. An
// empty text: none.
std::vector<ScoreRequest> RollingRequests(absl::Span<const int32_t> text, int32_t prefix,
                                          int64_t max_length);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCORING_ROLLING_H_
