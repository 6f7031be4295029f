#include "trainer/scoring/scorer.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/independent_rows.h"
#include "kernels/runtime/status.h"
#include "layers/decode_graph.h"

namespace wyvern {
namespace {

using Text = absl::Span<const int32_t>;

// Batches keep this many times tokens_at_once: what attention holds of them stays within bounds.
constexpr int64_t kForwardsKept = 16;

std::string RequestName(size_t index) { return absl::StrCat("request ", index, ": "); }

absl::Status CheckIds(Text ids, int64_t vocab_size, size_t request) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          RequestName(request), "token ", id, " is beyond the model's vocabulary of ", vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::Status OfRequest(const absl::Status& status, size_t request) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat(RequestName(request), status.message())};
}

// The requests for which `wanted` holds, by the length of their contexts, equal ones side by side.
template <class Context, class Wanted>
std::vector<size_t> InOrder(size_t num_requests, const Context& context, const Wanted& wanted) {
  std::vector<size_t> order;
  for (size_t i = 0; i < num_requests; ++i) {
    if (wanted(i)) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) {
    const Text a = context(i), b = context(j);
    return a.size() != b.size()
               ? a.size() < b.size()
               : std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  });
  return order;
}

std::vector<size_t> All(size_t count) {
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// Whether these are 0, 1 .. n - 1.
bool IsWhole(const std::vector<int64_t>& sequences, int64_t n) {
  if (static_cast<int64_t>(sequences.size()) != n) return false;
  for (int64_t i = 0; i < n; ++i) {
    if (sequences[i] != i) return false;
  }
  return true;
}

}  // namespace

Scorer::Scorer(Model* model, ScorerOptions options) : model_(model), options_(options) {
  CHECK(options.tokens_at_once > 0, "tokens at once: ", options.tokens_at_once);
  CHECK(options.sequences_at_once > 0, "sequences at once: ", options.sequences_at_once);
  CHECK(options.top_k >= 0, "top_k: ", options.top_k);
  if (model->device() != Device::kCpu) options_.pad = true;
}

DecodeCache Scorer::NewCache(size_t num_sequences) const {
  return DecodeCache(static_cast<int64_t>(num_sequences) + (options_.pad ? 1 : 0));
}

DecodeCache Scorer::Select(const DecodeCache& cache, std::vector<int64_t> sequences) const {
  if (options_.pad) sequences.push_back(cache.num_sequences() - 1);
  return cache.Select(sequences);
}

Tensor Scorer::Read(absl::Span<const Text> texts, int64_t height, DecodeCache* cache) {
  std::vector<int32_t> ids;
  std::vector<int64_t> lengths;
  for (const Text text : texts) {
    ids.insert(ids.end(), text.begin(), text.end());
    lengths.push_back(static_cast<int64_t>(text.size()));
  }
  counts_.tokens += static_cast<int64_t>(ids.size());
  ++counts_.forwards;
  if (options_.pad) {
    lengths.push_back(height - static_cast<int64_t>(ids.size()));
    ids.resize(height, 0);
  }
  Tape tape(/*recording=*/false);
  const Packing packing = cache->Next(lengths, model_->device());
  const Tensor on_host = Tensor::FromVector(ids, {static_cast<int64_t>(ids.size())});
  return model_->Hidden(tape, on_host.To(model_->device()), packing, cache).value();
}

absl::Status Scorer::ReadAll(
    absl::Span<const Text> texts, DecodeCache* cache,
    const std::function<absl::Status(absl::Span<const ReadPiece>, const Tensor&)>& done) {
  std::vector<int64_t> lengths;
  for (const Text text : texts) lengths.push_back(static_cast<int64_t>(text.size()));
  for (const std::vector<ReadPiece>& pieces : PlanForwards(lengths, options_.tokens_at_once)) {
    std::vector<Text> parts(texts.size());
    for (const ReadPiece& piece : pieces) {
      parts[piece.text] = texts[piece.text].subspan(piece.begin, piece.end - piece.begin);
    }
    const Tensor hidden = Read(parts, options_.tokens_at_once, cache);
    if (done) RETURN_IF_ERROR(done(pieces, hidden));
  }
  return absl::OkStatus();
}

absl::StatusOr<DecodeCache> Scorer::Start(absl::Span<const Text> contexts, size_t num_sequences) {
  std::vector<Text> beginnings;
  std::vector<int64_t> sequences;
  for (size_t i = 0; i < contexts.size(); ++i) {
    if (i == 0 || contexts[i] != contexts[i - 1]) {
      beginnings.push_back(contexts[i].first(contexts[i].size() - 1));
    }
    sequences.push_back(static_cast<int64_t>(beginnings.size()) - 1);
  }
  if (num_sequences > contexts.size()) beginnings.emplace_back();
  sequences.resize(num_sequences, static_cast<int64_t>(beginnings.size()) - 1);
  DecodeCache cache = NewCache(beginnings.size());
  RETURN_IF_ERROR(ReadAll(beginnings, &cache));
  if (IsWhole(sequences, static_cast<int64_t>(beginnings.size()))) return cache;
  return Select(cache, sequences);
}

absl::StatusOr<std::vector<ScoreResult>> Scorer::Score(absl::Span<const ScoreRequest> requests) {
  const int64_t vocab_size = model_->config().vocab_size;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].context.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(RequestName(i), "the context has no tokens; begin it with bos or eos"));
    }
    RETURN_IF_ERROR(CheckIds(requests[i].context, vocab_size, i));
    RETURN_IF_ERROR(CheckIds(requests[i].continuation, vocab_size, i));
  }
  const IndependentRows independent_rows;
  std::vector<ScoreResult> results(requests.size());
  // Equal contexts are one.
  std::vector<Text> contexts;
  std::vector<std::vector<size_t>> continued_by;
  for (const size_t i : InOrder(
           requests.size(), [&](size_t i) -> Text { return requests[i].context; },
           [&](size_t i) { return !requests[i].continuation.empty(); })) {
    if (contexts.empty() || contexts.back() != Text(requests[i].context)) {
      contexts.emplace_back(requests[i].context);
      continued_by.emplace_back();
    }
    continued_by.back().push_back(i);
  }
  for (const BatchRange& batch : Batches(contexts)) {
    const size_t size = batch.end - batch.begin;
    ASSIGN_OR_RETURN(DecodeCache cache,
                     Start(absl::MakeConstSpan(contexts).subspan(batch.begin, size), size));
    std::vector<int64_t> sequences;  // of the cache, and which request continues each
    std::vector<size_t> tails;
    std::vector<Text> continuations;
    for (size_t c = batch.begin; c < batch.end; ++c) {
      for (const size_t i : continued_by[c]) {
        sequences.push_back(static_cast<int64_t>(c - batch.begin));
        tails.push_back(i);
        continuations.emplace_back(requests[i].continuation);
      }
    }
    const std::vector<BatchRange> parts = Batches(continuations);
    const bool whole = parts.size() == 1 && IsWhole(sequences, static_cast<int64_t>(size));
    for (const BatchRange& part : parts) {
      const std::vector<int64_t> selected(sequences.begin() + static_cast<ptrdiff_t>(part.begin),
                                          sequences.begin() + static_cast<ptrdiff_t>(part.end));
      RETURN_IF_ERROR(ScoreTails(
          requests, absl::MakeConstSpan(tails).subspan(part.begin, part.end - part.begin),
          whole ? std::move(cache) : Select(cache, selected), &results));
    }
  }
  return results;
}

absl::Status Scorer::ScoreTails(absl::Span<const ScoreRequest> requests,
                                absl::Span<const size_t> tails, DecodeCache cache,
                                std::vector<ScoreResult>* results) {
  // The last token of the context predicts the first one of the continuation.
  std::vector<std::vector<int32_t>> read;
  for (const size_t i : tails) {
    read.push_back({requests[i].context.back()});
    read.back().insert(read.back().end(), requests[i].continuation.begin(),
                       requests[i].continuation.end() - 1);
  }
  const std::vector<Text> texts(read.begin(), read.end());
  RETURN_IF_ERROR(ReadAll(
      texts, &cache, [&](absl::Span<const ReadPiece> pieces, const Tensor& hidden) -> absl::Status {
        std::vector<size_t> request_of;  // of each row
        std::vector<int32_t> tokens;
        for (const ReadPiece& piece : pieces) {
          const size_t i = tails[piece.text];
          request_of.resize(request_of.size() + piece.end - piece.begin, i);
          tokens.insert(tokens.end(), requests[i].continuation.begin() + piece.begin,
                        requests[i].continuation.begin() + piece.end);
        }
        return ScoreRows(model_, hidden, tokens, options_.top_k,
                         [&](int64_t row, absl::StatusOr<TokenScore> score) -> absl::Status {
                           RETURN_IF_ERROR(OfRequest(score.status(), request_of[row]));
                           ScoreResult& result = (*results)[request_of[row]];
                           result.log_likelihood += score->log_likelihood;
                           result.is_greedy &= score->most_likely == tokens[row];
                           result.tokens.push_back(*std::move(score));
                           return absl::OkStatus();
                         });
      }));
  return absl::OkStatus();
}

std::vector<BatchRange> Scorer::Batches(absl::Span<const Text> texts) const {
  std::vector<int64_t> lengths;
  for (const Text text : texts) lengths.push_back(static_cast<int64_t>(text.size()));
  return PlanBatches(lengths, options_.sequences_at_once, kForwardsKept * options_.tokens_at_once);
}

absl::StatusOr<std::vector<GenerateResult>> Scorer::Generate(
    absl::Span<const GenerateRequest> requests) {
  const int64_t vocab_size = model_->config().vocab_size;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].prompt.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(RequestName(i), "the prompt has no tokens"));
    }
    RETURN_IF_ERROR(CheckIds(requests[i].prompt, vocab_size, i));
    RETURN_IF_ERROR(OfRequest(requests[i].options.sampling.Validate(), i));
  }
  const IndependentRows independent_rows;
  std::vector<GenerateResult> results(requests.size());
  const std::vector<size_t> order = InOrder(
      requests.size(), [&](size_t i) -> Text { return requests[i].prompt; },
      [&](size_t i) { return requests[i].options.max_tokens > 0; });
  std::vector<Text> prompts;
  for (const size_t i : order) prompts.emplace_back(requests[i].prompt);
  for (const BatchRange& batch : Batches(prompts)) {
    const size_t size = batch.end - batch.begin;
    const size_t sequences = options_.pad ? options_.sequences_at_once : size;
    ASSIGN_OR_RETURN(DecodeCache cache,
                     Start(absl::MakeConstSpan(prompts).subspan(batch.begin, size), sequences));
    RETURN_IF_ERROR(Continue(requests,
                             {order.begin() + static_cast<ptrdiff_t>(batch.begin),
                              order.begin() + static_cast<ptrdiff_t>(batch.end)},
                             std::move(cache), &results));
  }
  return results;
}

absl::Status Scorer::Continue(absl::Span<const GenerateRequest> requests,
                              std::vector<size_t> sequences, DecodeCache cache,
                              std::vector<GenerateResult>* results) {
  std::vector<int32_t> next;  // of each sequence
  for (const size_t i : sequences) next.push_back(requests[i].prompt.back());
  std::vector<size_t> live = All(sequences.size());  // sequences that go on
  if (options_.pad) {
    // Every sequence reads a token each time, so there is nothing to fill up.
    std::vector<int64_t> sequences_of_cache(options_.sequences_at_once);
    std::iota(sequences_of_cache.begin(), sequences_of_cache.end(), 0);
    cache = cache.Select(sequences_of_cache);
  }
  std::optional<DecodeGraph> graph(std::in_place, model_, &cache);
  while (!live.empty()) {
    if (!options_.pad && 2 * live.size() <= sequences.size()) {
      // Copies of states cost something, so finished sequences leave together.
      std::vector<size_t> kept;
      for (const size_t s : live) {
        next[kept.size()] = next[s];
        kept.push_back(sequences[s]);
      }
      cache = Select(cache, std::vector<int64_t>(live.begin(), live.end()));
      graph.emplace(model_, &cache);
      sequences = std::move(kept);
      live = All(sequences.size());
    }
    // With padding every sequence reads a token, those that have ended and those that stand for
    // nothing too: kernels choose their way by the number and the lengths of the sequences.
    const std::vector<size_t> reading =
        options_.pad ? All(static_cast<size_t>(options_.sequences_at_once)) : live;
    const int64_t num_sequences = cache.num_sequences();
    Tensor hidden;
    if (static_cast<int64_t>(reading.size()) == num_sequences) {
      std::vector<int32_t> ids(num_sequences, 0);
      for (const size_t s : live) ids[s] = next[s];
      hidden = graph->Step(ids);
      counts_.tokens += num_sequences;
      ++counts_.forwards;
    } else {
      std::vector<Text> texts(num_sequences);
      for (const size_t s : live) texts[s] = absl::MakeConstSpan(&next[s], 1);
      hidden = Read(texts, options_.sequences_at_once, &cache);
    }
    std::vector<size_t> going_on;
    size_t done = 0;  // of `live`
    RETURN_IF_ERROR(
        ForEachRowOfLogits(model_, hidden, static_cast<int64_t>(reading.size()),
                           [&](int64_t row, absl::Span<const float> logits) -> absl::Status {
                             const size_t s = reading[row];
                             if (done == live.size() || live[done] != s) return absl::OkStatus();
                             ++done;
                             const size_t i = sequences[s];
                             RETURN_IF_ERROR(OfRequest(CheckAreNumbers(logits), i));
                             next[s] = SampleToken(logits, requests[i].options.sampling,
                                                   cache.num_tokens(static_cast<int64_t>(s)));
                             if (AddToken(requests[i], logits, next[s], &(*results)[i]))
                               going_on.push_back(s);
                             return absl::OkStatus();
                           }));
    live = std::move(going_on);
  }
  return absl::OkStatus();
}

bool Scorer::AddToken(const GenerateRequest& request, absl::Span<const float> logits, int32_t token,
                      GenerateResult* result) const {
  if (request.options.eos_id == token) {
    result->finish = FinishReason::kEos;
    return false;
  }
  result->tokens.push_back(token);
  if (request.want_scores) result->scores.push_back(ScoreToken(logits, token, options_.top_k));
  if (request.on_token && !request.on_token(token)) {
    result->finish = FinishReason::kStopped;
    return false;
  }
  return static_cast<int64_t>(result->tokens.size()) < request.options.max_tokens;
}

}  // namespace wyvern
