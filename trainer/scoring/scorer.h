// Log-likelihoods and continuations of many texts at once.
#ifndef WYVERN_TRAINER_SCORING_SCORER_H_
#define WYVERN_TRAINER_SCORING_SCORER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "layers/decode_cache.h"
#include "layers/model.h"
#include "trainer/inference/generate.h"
#include "trainer/scoring/batch_plan.h"
#include "trainer/scoring/token_scores.h"

namespace wyvern {

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
  std::vector<int32_t> tokens;  // new ones, without eos
  // Scores of `tokens` before temperature, top_k and top_p. Those of Score agree within rounding:
  // it reads the tokens in other pieces.
  std::vector<TokenScore> scores;
  FinishReason finish = FinishReason::kMaxTokens;
};

struct ScorerOptions {
  // Tokens that one forward reads; a longer text is read in pieces of so many. 1 or more.
  int64_t tokens_at_once = 4096;
  // Sequences whose states are held at once. 1 or more.
  int64_t sequences_at_once = 64;
  // Alternatives listed for each token.
  int64_t top_k = 0;
  // Every forward gets tokens_at_once tokens, and sequences_at_once where one token of each
  // sequence is read: filled up with tokens that count for nothing. Costs time. Always so on CUDA.
  bool pad = false;
};

// Counts of what has been done so far.
struct ScorerCounts {
  int64_t tokens = 0;    // read by the model, but those that fill up
  int64_t forwards = 0;  // of it
};

// Contexts that are equal are read once: their state is then continued in several ways. The context
// but its last token is read first, then this token with the continuation.
//
// On the CPU a result is a function, to the bit, of its request and, if that is longer than
// tokens_at_once, of tokens_at_once: it depends neither on other requests nor on their order. On
// CUDA products of another height round differently; `pad` gives all of them one height, so that
// results differ with tokens_at_once and sequences_at_once. Kernels there may still choose their
// way by the lengths of the sequences that are read together: results agree within rounding.
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
  using Text = absl::Span<const int32_t>;

  // A cache of so many sequences, and one of padding where that is wanted.
  DecodeCache NewCache(size_t num_sequences) const;
  // A cache that continues these sequences, and the padding.
  DecodeCache Select(const DecodeCache& cache, std::vector<int64_t> sequences) const;
  // Reads the next tokens of each sequence, and fills up to `height`. The rows of the result are
  // those of the texts, one behind another.
  Tensor Read(absl::Span<const Text> texts, int64_t height, DecodeCache* cache);
  // Reads the whole text of each sequence; `done` gets the pieces and the rows of each forward.
  absl::Status ReadAll(
      absl::Span<const Text> texts, DecodeCache* cache,
      const std::function<absl::Status(absl::Span<const ReadPiece>, const Tensor&)>& done = {});
  // A cache of so many sequences that have read the contexts but for their last tokens; those
  // beyond the contexts have read nothing. Equal contexts, which are neighbours, are read once.
  absl::StatusOr<DecodeCache> Start(absl::Span<const Text> contexts, size_t num_sequences);
  std::vector<BatchRange> Batches(absl::Span<const Text> texts) const;
  // Sequence s of the cache is the context, but for its last token, of requests[tails[s]].
  absl::Status ScoreTails(absl::Span<const ScoreRequest> requests, absl::Span<const size_t> tails,
                          DecodeCache cache, std::vector<ScoreResult>* results);
  // Sequence s of the cache is the prompt, but for its last token, of requests[sequences[s]].
  absl::Status Continue(absl::Span<const GenerateRequest> requests, std::vector<size_t> sequences,
                        DecodeCache cache, std::vector<GenerateResult>* results);
  // Adds a new token to the text; whether it goes on.
  bool AddToken(const GenerateRequest& request, absl::Span<const float> logits, int32_t token,
                GenerateResult* result) const;

  Model* model_;
  ScorerOptions options_;
  ScorerCounts counts_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCORING_SCORER_H_
