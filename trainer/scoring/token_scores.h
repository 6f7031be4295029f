// How likely tokens are, from a model's logits.
#ifndef WYVERN_TRAINER_SCORING_TOKEN_SCORES_H_
#define WYVERN_TRAINER_SCORING_TOKEN_SCORES_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "layers/model.h"

namespace wyvern {

struct TokenScore {
  double log_likelihood = 0;  // of the token given all before it, in nats; -infinity is possible
  int32_t most_likely = 0;    // in its place; of equal logits the lowest id
  // The most likely tokens and their log-likelihoods, the likeliest first; equal ones by id.
  std::vector<std::pair<int32_t, double>> top;
};

// The score of `token` after these logits, the largest of which is finite
// (kernels/head/token_scores.h). `top_k` tokens are listed, or as many as there are.
TokenScore ScoreToken(absl::Span<const float> logits, int32_t token, int64_t top_k);

// Whether the largest of these logits is finite; else an Internal error.
absl::Status CheckAreNumbers(absl::Span<const float> logits);

// Rows of logits exist for a few rows of hidden at a time; how many they are depends on T alone.

// Calls fn with the logits [V] in fp32 of each row [0, num_rows) of hidden [T, D], which
// Model::Hidden has given, in order.
absl::Status ForEachRowOfLogits(
    Model* model, const Tensor& hidden, int64_t num_rows,
    const std::function<absl::Status(int64_t row, absl::Span<const float> logits)>& fn);

// Calls fn with the score of tokens[t] after row t of hidden, for all tokens in order; with an
// Internal error where the largest logit is not finite. Without top_k the logits stay on the
// model's device.
absl::Status ScoreRows(
    Model* model, const Tensor& hidden, const std::vector<int32_t>& tokens, int64_t top_k,
    const std::function<absl::Status(int64_t row, absl::StatusOr<TokenScore> score)>& fn);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCORING_TOKEN_SCORES_H_
