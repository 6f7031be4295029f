// How texts of many lengths are divided into forwards.
#ifndef WYVERN_TRAINER_SCORING_BATCH_PLAN_H_
#define WYVERN_TRAINER_SCORING_BATCH_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace wyvern {

// Consecutive numbers of texts, [begin, end).
struct BatchRange {
  size_t begin = 0, end = 0;
};
// Texts of these lengths in batches of at most `max_texts` texts and `max_tokens` tokens; a longer
// text is a batch alone.
std::vector<BatchRange> PlanBatches(absl::Span<const int64_t> lengths, int64_t max_texts,
                                    int64_t max_tokens);

// Tokens [begin, end) of a text.
struct ReadPiece {
  size_t text = 0;
  int64_t begin = 0, end = 0;
};
// The forwards that read all texts, of at most `max_tokens` tokens each, text after text. A text is
// one piece; a longer one is in pieces of max_tokens, so where it is cut depends on no other text.
std::vector<std::vector<ReadPiece>> PlanForwards(absl::Span<const int64_t> lengths,
                                                 int64_t max_tokens);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCORING_BATCH_PLAN_H_
