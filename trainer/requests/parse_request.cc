#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "trainer/requests/json_fields.h"
#include "trainer/requests/request.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();

absl::StatusOr<PairRequest> ParsePair(const JsonFields& fields, const RequestEncoder& encoder) {
  RETURN_IF_ERROR(fields.CheckKeys({"id", "context", "continuation"}));
  ASSIGN_OR_RETURN(TextOrIds context, fields.TextOrTokenIds("context"));
  ASSIGN_OR_RETURN(TextOrIds continuation, fields.TextOrTokenIds("continuation"));
  if (context.index() != continuation.index()) {
    return absl::InvalidArgumentError(
        "context, continuation: expected two strings or two lists of token ids");
  }
  if (auto* text = std::get_if<std::string>(&context)) {
    ASSIGN_OR_RETURN(
        ScoreRequest pair,
        Of("context, continuation",
           encoder.EncodePair(std::move(*text), std::get<std::string>(std::move(continuation)))));
    return PairRequest{std::move(pair)};
  }
  ASSIGN_OR_RETURN(ScoreRequest pair,
                   Of("context, continuation",
                      encoder.Pair(std::get<std::vector<int32_t>>(std::move(context)),
                                   std::get<std::vector<int32_t>>(std::move(continuation)))));
  return PairRequest{std::move(pair)};
}

absl::StatusOr<TextRequest> ParseText(const JsonFields& fields, const RequestEncoder& encoder) {
  RETURN_IF_ERROR(fields.CheckKeys({"id", "text"}));
  ASSIGN_OR_RETURN(const TextOrIds input, fields.TextOrTokenIds("text"));
  TextRequest request;
  std::vector<int32_t> ids;
  if (const auto* text = std::get_if<std::string>(&input)) {
    request.num_bytes = static_cast<int64_t>(text->size());
    ASSIGN_OR_RETURN(ids, Of("text", encoder.Encode(*text)));
  } else {
    ids = std::get<std::vector<int32_t>>(input);
    if (encoder.tokenizer() != nullptr) {
      request.num_bytes = static_cast<int64_t>(encoder.tokenizer()->Decode(ids).size());
    }
  }
  ASSIGN_OR_RETURN(request.windows, Of("text", encoder.Windows(ids)));
  return request;
}

absl::StatusOr<PromptRequest> ParsePrompt(const JsonFields& fields, const RequestEncoder& encoder) {
  RETURN_IF_ERROR(fields.CheckKeys(
      {"id", "prompt", "until", "max_tokens", "temperature", "top_k", "top_p", "seed"}));
  if (encoder.tokenizer() == nullptr) {
    return absl::InvalidArgumentError(
        "prompt: the checkpoint holds no tokenizer, so that no text can be written");
  }
  PromptRequest request;
  ASSIGN_OR_RETURN(request.until, fields.Texts("until"));
  SamplingOptions& sampling = request.options.sampling;
  ASSIGN_OR_RETURN(request.options.max_tokens,
                   fields.Integer("max_tokens", request.options.max_tokens, 1, kMaxInt));
  ASSIGN_OR_RETURN(sampling.temperature, fields.Number("temperature", 0));
  ASSIGN_OR_RETURN(sampling.top_k, fields.Integer("top_k", sampling.top_k, 0, kMaxInt));
  ASSIGN_OR_RETURN(sampling.top_p, fields.Number("top_p", sampling.top_p));
  ASSIGN_OR_RETURN(const int64_t seed,
                   fields.Integer("seed", 1, 0, std::numeric_limits<int64_t>::max()));
  sampling.seed = static_cast<uint64_t>(seed);
  RETURN_IF_ERROR(sampling.Validate());
  request.options.eos_id = encoder.tokenizer()->eos_id();
  ASSIGN_OR_RETURN(TextOrIds input, fields.TextOrTokenIds("prompt"));
  std::vector<int32_t> ids;
  if (const auto* text = std::get_if<std::string>(&input)) {
    ASSIGN_OR_RETURN(ids, Of("prompt", encoder.Encode(*text)));
  } else {
    ids = std::get<std::vector<int32_t>>(std::move(input));
  }
  ASSIGN_OR_RETURN(request.prompt,
                   Of("prompt", encoder.Prompt(std::move(ids), request.options.max_tokens)));
  return request;
}

absl::StatusOr<Request> Parse(const Json& json, const RequestEncoder& encoder) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("expected an object, got ", DescribeJson(json)));
  }
  const JsonFields fields(json);
  Request request;
  if (const Json* id = fields.Find("id")) request.id = *id;
  if (fields.Has("continuation") || fields.Has("context")) {
    ASSIGN_OR_RETURN(request.work, ParsePair(fields, encoder));
  } else if (fields.Has("text")) {
    ASSIGN_OR_RETURN(request.work, ParseText(fields, encoder));
  } else if (fields.Has("prompt")) {
    ASSIGN_OR_RETURN(request.work, ParsePrompt(fields, encoder));
  } else {
    return absl::InvalidArgumentError(
        "expected the keys context and continuation, or text, or prompt");
  }
  return request;
}

}  // namespace

absl::StatusOr<Request> ParseRequest(absl::string_view line, const std::string& place,
                                     const RequestEncoder& encoder) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(line, place));
  ASSIGN_OR_RETURN(Request request, Of(place, Parse(json, encoder)));
  request.place = place;
  return request;
}

absl::StatusOr<std::vector<Request>> ParseRequests(absl::string_view lines, const std::string& name,
                                                   const RequestEncoder& encoder) {
  std::vector<Request> requests;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(lines, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    ASSIGN_OR_RETURN(Request request, ParseRequest(line, absl::StrCat(name, ":", number), encoder));
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace wyvern
