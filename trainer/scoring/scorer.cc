#include "trainer/scoring/scorer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "layers/decode_cache.h"

namespace wyvern {
namespace {

std::string RequestName(size_t index) { return absl::StrCat("request ", index, ": "); }

absl::Status CheckIds(absl::Span<const int32_t> ids, int64_t vocab_size, size_t request) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          RequestName(request), "token ", id, " is beyond the model's vocabulary of ", vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::Status OfRequest(const absl::Status& status, size_t request) {
  return {status.code(), absl::StrCat(RequestName(request), status.message())};
}

}  // namespace

Scorer::Scorer(Model* model, ScorerOptions options) : model_(model), options_(options) {
  CHECK(options.tokens_at_once > 0, "tokens at once: ", options.tokens_at_once);
  CHECK(options.sequences_at_once > 0, "sequences at once: ", options.sequences_at_once);
  CHECK(options.top_k >= 0, "top_k: ", options.top_k);
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
  std::vector<ScoreResult> results(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [context, continuation] = requests[i];
    if (continuation.empty()) continue;
    std::vector<int32_t> tokens = context;
    tokens.insert(tokens.end(), continuation.begin(), continuation.end() - 1);
    const auto size = static_cast<int64_t>(tokens.size());
    const auto first = static_cast<int64_t>(context.size()) - 1;  // row that predicts
    DecodeCache cache;
    for (int64_t begin = 0; begin < size; begin += options_.tokens_at_once) {
      const int64_t end = std::min(begin + options_.tokens_at_once, size);
      const Tensor hidden = Read(absl::MakeConstSpan(tokens).subspan(begin, end - begin), &cache);
      if (end <= first) continue;
      const int64_t row = std::max(begin, first);
      const absl::Status status =
          AppendScores(model_, hidden.Rows(row - begin, end - begin),
                       absl::MakeConstSpan(continuation).subspan(row - first, end - row),
                       options_.top_k, &results[i].tokens);
      if (!status.ok()) return OfRequest(status, i);
    }
    for (size_t t = 0; t < continuation.size(); ++t) {
      results[i].log_likelihood += results[i].tokens[t].log_likelihood;
      results[i].is_greedy &= results[i].tokens[t].most_likely == continuation[t];
    }
  }
  return results;
}

absl::StatusOr<std::vector<GenerateResult>> Scorer::Generate(
    absl::Span<const GenerateRequest> requests) {
  const int64_t vocab_size = model_->config().vocab_size;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].prompt.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(RequestName(i), "the prompt has no tokens"));
    }
    RETURN_IF_ERROR(CheckIds(requests[i].prompt, vocab_size, i));
    const absl::Status status = requests[i].options.sampling.Validate();
    if (!status.ok()) return OfRequest(status, i);
  }
  std::vector<GenerateResult> results(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const GenerateRequest& request = requests[i];
    GenerateResult& result = results[i];
    const absl::Span<const int32_t> prompt = request.prompt;
    if (request.options.max_tokens <= 0) continue;
    DecodeCache cache;
    Tensor hidden;
    for (size_t begin = 0; begin < prompt.size(); begin += options_.tokens_at_once) {
      hidden = Read(prompt.subspan(begin, options_.tokens_at_once), &cache);
    }
    while (true) {
      const absl::StatusOr<std::vector<float>> logits =
          LogitsOfRow(model_, hidden, hidden.dim(0) - 1);
      if (!logits.ok()) return OfRequest(logits.status(), i);
      const int32_t token = SampleToken(*logits, request.options.sampling, cache.num_tokens());
      if (request.options.eos_id == token) {
        result.finish = FinishReason::kEos;
        break;
      }
      result.tokens.push_back(token);
      if (request.want_scores) {
        result.scores.push_back(ScoreToken(*logits, token, options_.top_k));
      }
      if (request.on_token && !request.on_token(token)) {
        result.finish = FinishReason::kStopped;
        break;
      }
      if (static_cast<int64_t>(result.tokens.size()) == request.options.max_tokens) break;
      hidden = Read({&token, 1}, &cache);
    }
  }
  return results;
}

Tensor Scorer::Read(absl::Span<const int32_t> tokens, DecodeCache* cache) {
  Tape tape(/*recording=*/false);
  const auto size = static_cast<int64_t>(tokens.size());
  const Tensor ids = Tensor::FromVector(std::vector<int32_t>(tokens.begin(), tokens.end()), {size});
  const Packing packing = Packing::FromDocuments({0, static_cast<int32_t>(size)}, model_->device(),
                                                 static_cast<int32_t>(cache->num_tokens()));
  counts_.tokens += size;
  ++counts_.forwards;
  return model_->Hidden(tape, ids.To(model_->device()), packing, cache).value();
}

}  // namespace wyvern
