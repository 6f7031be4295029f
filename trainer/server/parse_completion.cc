#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "trainer/requests/json_fields.h"
#include "trainer/server/completion.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxPrompts = 256;
constexpr int64_t kMaxLogProbs = 100;
constexpr int64_t kCompletionTokens = 16;  // OpenAI's, where a request does not say
constexpr int64_t kChatTokens = 1024;

// A key of OpenAI's that Wyvern does not have, with the values that ask for nothing.
struct NeutralKey {
  absl::string_view key;
  std::vector<Json> values;
};

const std::vector<NeutralKey>& NeutralKeys(bool chat) {
  static const auto& of_all = *new std::vector<NeutralKey>{{"n", {1}},
                                                           {"presence_penalty", {0}},
                                                           {"frequency_penalty", {0}},
                                                           {"logit_bias", {Json::object()}}};
  static const auto& of_completions = *[] {
    auto* keys = new std::vector<NeutralKey>(of_all);
    keys->insert(keys->end(), {{"best_of", {1}}, {"suffix", {""}}});
    return keys;
  }();
  static const auto& of_chats = *[] {
    auto* keys = new std::vector<NeutralKey>(of_all);
    keys->insert(keys->end(), {{"logprobs", {false}},
                               {"top_logprobs", {0}},
                               {"tools", {Json::array()}},
                               {"tool_choice", {"none", "auto"}},
                               {"response_format", {Json{{"type", "text"}}}}});
    return keys;
  }();
  return chat ? of_chats : of_completions;
}

absl::Status CheckKeys(const JsonFields& fields, bool chat) {
  std::vector<absl::string_view> known = {"max_tokens", "temperature", "top_p",
                                          "top_k",      "stop",        "seed",
                                          "echo",       "stream",      "stream_options"};
  // They say who asks, and for which model: there is one alone.
  known.insert(known.end(), {"model", "user", "store", "metadata"});
  for (const NeutralKey& neutral : NeutralKeys(chat)) known.push_back(neutral.key);
  if (chat) {
    known.insert(known.end(), {"messages", "max_completion_tokens", "chat_template_kwargs"});
  } else {
    known.insert(known.end(), {"prompt", "logprobs"});
  }
  RETURN_IF_ERROR(fields.CheckKeys(known));
  for (const auto& [key, values] : NeutralKeys(chat)) {
    const Json* found = fields.Find(std::string(key));
    bool neutral = found == nullptr;
    for (const Json& value : values) neutral = neutral || *found == value;
    if (neutral) continue;
    return absl::InvalidArgumentError(absl::StrCat(key, ": only ", values[0].dump(),
                                                   " is supported, got ", DescribeJson(*found)));
  }
  return absl::OkStatus();
}

absl::Status ParseCommon(const JsonFields& fields, int64_t default_tokens, const ServedModel& model,
                         CompletionRequest* request) {
  RETURN_IF_ERROR(CheckKeys(fields, request->chat));
  GenerateOptions& options = request->options;
  const char* const max_tokens =
      request->chat && fields.Has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  ASSIGN_OR_RETURN(options.max_tokens, fields.Integer(max_tokens, default_tokens, 0, kMaxInt));
  ASSIGN_OR_RETURN(options.sampling.temperature, fields.Number("temperature", 1));
  ASSIGN_OR_RETURN(options.sampling.top_p, fields.Number("top_p", 1));
  ASSIGN_OR_RETURN(options.sampling.top_k, fields.Integer("top_k", 0, 0, kMaxInt));
  std::random_device entropy;
  const int64_t drawn = entropy() & kMaxInt;
  ASSIGN_OR_RETURN(const int64_t seed,
                   fields.Integer("seed", drawn, std::numeric_limits<int64_t>::min(),
                                  std::numeric_limits<int64_t>::max()));
  options.sampling.seed = static_cast<uint64_t>(seed);
  RETURN_IF_ERROR(options.sampling.Validate());
  options.eos_id = model.tokenizer().eos_id();
  ASSIGN_OR_RETURN(request->stop, fields.Texts("stop"));
  ASSIGN_OR_RETURN(request->echo, fields.Bool("echo", false));
  ASSIGN_OR_RETURN(request->stream, fields.Bool("stream", false));
  if (const Json* stream_options = fields.Find("stream_options")) {
    if (!stream_options->is_object()) return fields.Expected("stream_options", "an object");
    ASSIGN_OR_RETURN(request->stream_usage,
                     JsonFields(*stream_options).Bool("include_usage", false));
  }
  return absl::OkStatus();
}

absl::Status CheckLength(const ServedModel& model, const CompletionRequest& request) {
  if (model.max_length() == 0) return absl::OkStatus();
  for (const std::vector<int32_t>& prompt : request.prompts) {
    const auto size = static_cast<int64_t>(prompt.size());
    if (size + request.options.max_tokens <= model.max_length()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the prompt has ", size, " tokens and max_tokens is ", request.options.max_tokens,
        ": together more than the ", model.max_length(), " that this server reads"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> ParsePrompt(const Json& value, const ServedModel& model) {
  std::vector<int32_t> ids;
  if (value.is_string()) {
    ASSIGN_OR_RETURN(ids, model.encoder().Encode(value.get<std::string>()));
  } else if (std::optional<std::vector<int32_t>> given = TokenIds(value)) {
    ids = *std::move(given);
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected a string, a list of token ids, or a list of such, got ", DescribeJson(value)));
  }
  return model.encoder().Prompt(std::move(ids), 0);
}

}  // namespace

absl::StatusOr<CompletionRequest> ParseCompletion(const nlohmann::ordered_json& body,
                                                  const ServedModel& model) {
  const Json plain(body);
  const JsonFields fields(plain);
  CompletionRequest request;
  RETURN_IF_ERROR(ParseCommon(fields, kCompletionTokens, model, &request));
  if (fields.Has("logprobs")) {
    ASSIGN_OR_RETURN(request.logprobs, fields.Integer("logprobs", 0, 0, kMaxLogProbs));
  }
  if (request.stream && (request.logprobs.has_value() || request.echo)) {
    return absl::InvalidArgumentError(
        "stream: texts come without logprobs and echo; leave these out or do not stream");
  }
  const Json* prompt = fields.Find("prompt");
  if (prompt == nullptr) return fields.Expected("prompt", "a string or a list");
  // A list of numbers is one prompt; any other list holds several.
  const bool several = prompt->is_array() && !prompt->empty() && !(*prompt)[0].is_number();
  const Json prompts = several ? *prompt : Json::array({*prompt});
  if (prompts.size() > kMaxPrompts) {
    return fields.Expected("prompt", absl::StrCat("at most ", kMaxPrompts, " of them"));
  }
  for (const Json& one : prompts) {
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, Of("prompt", ParsePrompt(one, model)));
    request.prompts.push_back(std::move(ids));
  }
  RETURN_IF_ERROR(CheckLength(model, request));
  return request;
}

absl::StatusOr<CompletionRequest> ParseChat(const nlohmann::ordered_json& body,
                                            const ServedModel& model) {
  const Json plain(body);
  const JsonFields fields(plain);
  CompletionRequest request;
  request.chat = true;
  ASSIGN_OR_RETURN(const std::string text, model.ChatPrompt(body));
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, Of("messages", ParsePrompt(text, model)));
  int64_t tokens = kChatTokens;
  if (model.max_length() > 0) {
    tokens = std::clamp<int64_t>(model.max_length() - static_cast<int64_t>(ids.size()), 1, tokens);
  }
  RETURN_IF_ERROR(ParseCommon(fields, tokens, model, &request));
  if (request.echo) return fields.Expected("echo", "false");
  const EndOfTurn& end = model.end_of_turn();
  request.end_of_turn = end.id;
  if (!end.id.has_value() && !end.text.empty()) request.stop.push_back(end.text);
  request.prompts.push_back(std::move(ids));
  RETURN_IF_ERROR(CheckLength(model, request));
  return request;
}

}  // namespace wyvern
