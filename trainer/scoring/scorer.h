// Log-likelihoods and continuations of many texts at once.
#ifndef WYVERN_TRAINER_SCORING_SCORER_H_
#define WYVERN_TRAINER_SCORING_SCORER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "layers/model.h"
#include "trainer/inference/generate.h"
#include "trainer/scoring/token_scores.h"

namespace wyvern {

class DecodeCache;

// Asks for log p(continuation | context). The context has one token at least: the caller puts bos
// or eos where there is none. The continuation may be empty.
struct ScoreRequest {
  std::vector<int32_t> context, continuation;
};

struct ScoreResult {
  std::vector<TokenScore> tokens;  // one for each of the continuation
  double log_likelihood = 0;       // their sum, in the tokens' order
  bool is_greedy = true;           // whether each token is the most likely one in its place
};

struct GenerateRequest {
  std::vector<int32_t> prompt;  // one token at least
  // `prefill_chunk` has no effect: ScorerOptions::tokens_at_once takes its place.
  GenerateOptions options;
  // Whether GenerateResult::scores are wanted, with ScorerOptions::top_k.
  bool want_scores = false;
  // Gets each new token and returns whether to go on; may be empty. Calls of one request come in
  // the order of its tokens, between those of others, on the caller's thread.
  std::function<bool(int32_t)> on_token;
};

enum class FinishReason {
  kEos,        // the model ended the text
  kMaxTokens,  // options.max_tokens are reached
  kStopped,    // on_token returned false
};

struct GenerateResult {
  std::vector<int32_t> tokens;     // new ones, without eos
  std::vector<TokenScore> scores;  // of `tokens`, before temperature, top_k and top_p
  FinishReason finish = FinishReason::kMaxTokens;
};

struct ScorerOptions {
  // Tokens that one forward reads; a longer text is read in pieces of so many. 1 or more.
  int64_t tokens_at_once = 4096;
  // Sequences whose states are held at once. 1 or more.
  int64_t sequences_at_once = 64;
  // Alternatives listed for each token.
  int64_t top_k = 0;
};

// Counts of what has been done so far.
struct ScorerCounts {
  int64_t tokens = 0;    // read by the model
  int64_t forwards = 0;  // of it
};

class Scorer {
 public:
  // `model` outlives this and is whole on this rank. Options out of range abort.
  explicit Scorer(Model* model, ScorerOptions options = {});

  // Results in the order of the requests. Errors name the request by its index: an empty context,
  // ids outside the vocabulary, logits whose largest is not finite.
  absl::StatusOr<std::vector<ScoreResult>> Score(absl::Span<const ScoreRequest> requests);

  // Each request gets the tokens that Generate (trainer/inference/generate.h) gives it alone, but
  // for ties that rounding decides. Errors as those of Score, and bad options.
  absl::StatusOr<std::vector<GenerateResult>> Generate(absl::Span<const GenerateRequest> requests);

  const ScorerCounts& counts() const { return counts_; }

 private:
  // The outputs of `tokens`, which continue the cached sequence.
  Tensor Read(absl::Span<const int32_t> tokens, DecodeCache* cache);

  Model* model_;
  ScorerOptions options_;
  ScorerCounts counts_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCORING_SCORER_H_
