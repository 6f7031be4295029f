// How likely tokens are, from a model's logits.
#ifndef WYVERN_TRAINER_SCORING_TOKEN_SCORES_H_
#define WYVERN_TRAINER_SCORING_TOKEN_SCORES_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "layers/model.h"

namespace wyvern {

struct TokenScore {
  double log_likelihood = 0;  // of the token given all before it, in nats; -infinity is possible
  int32_t most_likely = 0;    // in its place; of equal logits the lowest id
  // The most likely tokens and their log-likelihoods, the likeliest first; equal ones by id.
  std::vector<std::pair<int32_t, double>> top;
};

// The score of `token` after these logits, the largest of which is finite; a NaN counts as
// -infinity. The softmax is in fp64. `top_k` tokens are listed, or as many as there are.
TokenScore ScoreToken(absl::Span<const float> logits, int32_t token, int64_t top_k);

// The scores of `tokens`, token t after row t of hidden [T, D], which Model::Hidden has given. The
// logits exist for a few rows at a time. Errors: a row whose largest logit is not finite.
absl::Status AppendScores(Model* model, const Tensor& hidden, absl::Span<const int32_t> tokens,
                          int64_t top_k, std::vector<TokenScore>* scores);

// The logits [V] of row `row` of hidden in fp32. Errors: the largest is not
// finite.
absl::StatusOr<std::vector<float>> LogitsOfRow(Model* model, const Tensor& hidden, int64_t row);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCORING_TOKEN_SCORES_H_
