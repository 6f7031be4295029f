#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "trainer/inference/stop_text.h"
#include "trainer/requests/request.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// The parts of all requests' texts that are scored, and where the parts of each begin.
struct ScoreParts {
  std::vector<ScoreRequest> parts;
  std::vector<size_t> begin;  // one more than there are requests

  explicit ScoreParts(absl::Span<const Request> requests) {
    for (const Request& request : requests) {
      begin.push_back(parts.size());
      if (const auto* pair = std::get_if<PairRequest>(&request.work)) {
        parts.push_back(pair->pair);
      } else if (const auto* text = std::get_if<TextRequest>(&request.work)) {
        parts.insert(parts.end(), text->windows.begin(), text->windows.end());
      }
    }
    begin.push_back(parts.size());
  }
};

struct Written {
  std::string text;
  std::string stopped_by;
  size_t num_tokens = 0;
};

absl::StatusOr<std::vector<Written>> Write(Scorer* scorer, const Tokenizer* tokenizer,
                                           absl::Span<const PromptRequest* const> prompts) {
  std::vector<Written> written(prompts.size());
  std::vector<StopText> texts;
  texts.reserve(prompts.size());
  std::vector<GenerateRequest> generate(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    texts.emplace_back(*tokenizer, prompts[i]->prompt.back(), prompts[i]->until);
    generate[i] = {.prompt = prompts[i]->prompt,
                   .options = prompts[i]->options,
                   .on_token = [text = &texts[i], out = &written[i].text](int32_t token) {
                     *out += text->Add(token);
                     return !text->stopped();
                   }};
  }
  ASSIGN_OR_RETURN(const std::vector<GenerateResult> results, scorer->Generate(generate));
  for (size_t i = 0; i < prompts.size(); ++i) {
    written[i].text += texts[i].Rest();
    written[i].num_tokens = results[i].tokens.size();
    written[i].stopped_by = texts[i].stopped()                        ? "until"
                            : results[i].finish == FinishReason::kEos ? "eos"
                                                                      : "max_tokens";
  }
  return written;
}

}  // namespace

absl::StatusOr<std::vector<Json>> Answer(Scorer* scorer, const Tokenizer* tokenizer,
                                         absl::Span<const Request> requests) {
  const ScoreParts scored(requests);
  ASSIGN_OR_RETURN(const std::vector<ScoreResult> scores, scorer->Score(scored.parts));
  std::vector<const PromptRequest*> prompts;
  for (const Request& request : requests) {
    if (const auto* prompt = std::get_if<PromptRequest>(&request.work)) prompts.push_back(prompt);
  }
  ASSIGN_OR_RETURN(const std::vector<Written> written, Write(scorer, tokenizer, prompts));

  std::vector<Json> answers;
  size_t next_written = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    Json answer = Json::object();
    if (!requests[i].id.is_null()) answer["id"] = requests[i].id;
    if (std::holds_alternative<PromptRequest>(requests[i].work)) {
      const Written& text = written[next_written++];
      answer["text"] = text.text;
      answer["stopped_by"] = text.stopped_by;
      answer["num_tokens"] = text.num_tokens;
      answers.push_back(std::move(answer));
      continue;
    }
    double log_likelihood = 0;
    size_t num_tokens = 0;
    for (size_t part = scored.begin[i]; part < scored.begin[i + 1]; ++part) {
      log_likelihood += scores[part].log_likelihood;
      num_tokens += scores[part].tokens.size();
    }
    if (!std::isfinite(log_likelihood)) {
      return absl::DataLossError(
          absl::StrCat(requests[i].place,
                       ": the log-likelihood is not a finite number: the model's weights are not "
                       "finite, or so large that sums "
                       "overflow; take an earlier checkpoint, or import the model anew"));
    }
    answer["log_likelihood"] = log_likelihood;
    answer["num_tokens"] = num_tokens;
    if (const auto* text = std::get_if<TextRequest>(&requests[i].work)) {
      answer["num_bytes"] = text->num_bytes;
    } else {
      answer["is_greedy"] = scores[scored.begin[i]].is_greedy;
    }
    answers.push_back(std::move(answer));
  }
  return answers;
}

}  // namespace wyvern
