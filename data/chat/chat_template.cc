#include "data/chat/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/chat/conversation_forms.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using nlohmann::ordered_json;

constexpr const char* kReasoning[] = {"reasoning_content", "thinking", "reasoning"};

// The message as transformers gives it to a template: members that are null are left
// out, and the reasoning has the names that templates know.
absl::StatusOr<jinja::Value> Normalize(const ordered_json& message, size_t i) {
  if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
    return absl::InvalidArgumentError(
        absl::StrCat("message ", i, ": expected an object with the member \"role\", a string"));
  }
  ordered_json kept = ordered_json::object();
  const auto* reasoning = std::find_if(
      std::begin(kReasoning), std::end(kReasoning),
      [&](const char* name) { return message.contains(name) && !message[name].is_null(); });
  const bool has_reasoning = reasoning != std::end(kReasoning);
  if (has_reasoning) kept["thinking"] = message[*reasoning];
  for (const auto& [name, value] : message.items()) {
    if (!value.is_null()) kept[name] = value;
  }
  if (has_reasoning) kept["reasoning_content"] = message[*reasoning];
  return jinja::Value::FromJson(kept);
}

absl::Status AppendMessages(const ordered_json& messages, const char* name, jinja::List* list) {
  if (!messages.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\": expected a list of messages"));
  }
  for (const ordered_json& message : messages) {
    ASSIGN_OR_RETURN(jinja::Value value, Normalize(message, list->size()));
    list->push_back(std::move(value));
  }
  return absl::OkStatus();
}

bool IsAssistant(const jinja::Value& message) {
  const jinja::Value* role = message.Find(jinja::Value::Text("role"));
  return role != nullptr && *role->as_text() == "assistant";
}

jinja::Value MemberOrNone(const ordered_json& record, const char* name) {
  return record.contains(name) ? jinja::Value::FromJson(record[name]) : jinja::Value::None();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Make(const ChatOptions& options) {
  std::optional<JinjaTemplate> jinja;
  if (!options.source.empty()) {
    ASSIGN_OR_RETURN(jinja, JinjaTemplate::Parse(options.source, options.origin));
  }
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(options, std::move(jinja)));
}

absl::StatusOr<ChatText> ChatTemplate::Render(const ordered_json& record) const {
  if (!record.is_object()) return absl::InvalidArgumentError("expected an object");
  const bool has_pair = record.contains("prompt") && record.contains("completion");
  if (has_pair && record["prompt"].is_string() && record["completion"].is_string()) {
    const auto prompt = record["prompt"].get<std::string>();
    const auto completion = record["completion"].get<std::string>();
    ChatText chat{.text = prompt + completion, .targets = {}, .needs_eos = true};
    if (!completion.empty()) chat.targets.emplace_back(prompt.size(), chat.text.size());
    return chat;
  }
  size_t first_trained = 0;
  ASSIGN_OR_RETURN(const jinja::List messages, MessagesOf(record, &first_trained));
  return RenderMessages(record, messages, first_trained);
}

absl::StatusOr<jinja::List> ChatTemplate::MessagesOf(const ordered_json& record,
                                                     size_t* first_trained) {
  jinja::List messages;
  *first_trained = 0;
  if (record.contains("prompt") && record.contains("completion")) {
    RETURN_IF_ERROR(AppendMessages(record["prompt"], "prompt", &messages));
    *first_trained = messages.size();
    RETURN_IF_ERROR(AppendMessages(record["completion"], "completion", &messages));
  } else if (record.contains("messages")) {
    RETURN_IF_ERROR(AppendMessages(record["messages"], "messages", &messages));
  } else {
    ASSIGN_OR_RETURN(const std::optional<ordered_json> other, MessagesOfOtherForm(record));
    if (!other.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("expected the member ", kConversationMembers));
    }
    RETURN_IF_ERROR(AppendMessages(*other, "conversations", &messages));
  }
  return messages;
}

absl::Status ChatTemplate::CheckTemplate() const {
  if (jinja_.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("messages need a chat template, and ",
                                                 options_.origin, "; name one by chat_template"));
}

absl::StatusOr<std::string> ChatTemplate::RenderPrompt(const ordered_json& record) const {
  if (!record.is_object()) return absl::InvalidArgumentError("expected an object");
  RETURN_IF_ERROR(CheckTemplate());
  size_t ignored = 0;
  ASSIGN_OR_RETURN(const jinja::List messages, MessagesOf(record, &ignored));
  if (messages.empty()) return absl::InvalidArgumentError("\"messages\": there is none");
  ASSIGN_OR_RETURN(JinjaText rendered, RenderPart(record, messages, messages.size(), true));
  return std::move(rendered.text);
}

std::string ChatTemplate::BehindTurn() const {
  constexpr char kAnswer[] = "the answer";
  if (!jinja_.has_value()) return "";
  const ordered_json record = {{"messages",
                                {{{"role", "user"}, {"content", "a question"}},
                                 {{"role", "assistant"}, {"content", kAnswer}}}}};
  size_t ignored = 0;
  const absl::StatusOr<jinja::List> messages = MessagesOf(record, &ignored);
  if (!messages.ok()) return "";
  const absl::StatusOr<JinjaText> rendered = RenderPart(record, *messages, messages->size(), false);
  const size_t answer = rendered.ok() ? rendered->text.rfind(kAnswer) : std::string::npos;
  if (answer == std::string::npos) return "";
  return rendered->text.substr(answer + sizeof(kAnswer) - 1);
}

absl::StatusOr<JinjaText> ChatTemplate::RenderPart(const ordered_json& record,
                                                   const jinja::List& messages, size_t count,
                                                   bool add_generation_prompt) const {
  using jinja::Value;
  jinja::List part(messages.begin(), messages.begin() + static_cast<int64_t>(count));
  std::vector<std::pair<std::string, Value>> variables = {
      {"messages", Value::OfList(std::move(part))},
      {"tools", MemberOrNone(record, "tools")},
      {"documents", Value::None()},
      {"add_generation_prompt", Value::Bool(add_generation_prompt)}};
  for (const auto& [name, token] : options_.special_tokens) {
    variables.emplace_back(name, Value::Text(token));
  }
  if (record.contains("chat_template_kwargs")) {
    const ordered_json& more = record["chat_template_kwargs"];
    if (!more.is_object()) {
      return absl::InvalidArgumentError("\"chat_template_kwargs\": expected an object");
    }
    for (const auto& [name, value] : more.items()) {
      variables.emplace_back(name, Value::FromJson(value));
    }
  }
  return jinja_->Render(variables);
}

absl::StatusOr<ChatText> ChatTemplate::RenderMessages(const ordered_json& record,
                                                      const jinja::List& messages,
                                                      size_t first_trained) const {
  RETURN_IF_ERROR(CheckTemplate());
  std::vector<size_t> turns;
  for (size_t i = first_trained; i < messages.size(); ++i) {
    if (IsAssistant(messages[i])) turns.push_back(i);
  }
  if (turns.empty()) return absl::InvalidArgumentError("no message of the assistant to learn");
  if (options_.train_on == TrainedTurns::kLast) turns.erase(turns.begin(), turns.end() - 1);
  ASSIGN_OR_RETURN(JinjaText rendered, RenderPart(record, messages, messages.size(), false));
  ChatText chat{.text = std::move(rendered.text), .targets = {}, .needs_eos = false};
  if (!jinja_->has_generation()) {
    RETURN_IF_ERROR(FindTurns(record, messages, turns, &chat));
    return chat;
  }
  // The template marks every turn; those of the messages before the first that is learnt are fewer
  // by as many as a rendering of these marks.
  size_t skipped = 0;
  if (turns.front() > 0) {
    ASSIGN_OR_RETURN(const JinjaText before, RenderPart(record, messages, turns.front(), false));
    skipped = before.generations.size();
  }
  for (size_t i = skipped; i < rendered.generations.size(); ++i) {
    if (rendered.generations[i].first < rendered.generations[i].second) {
      chat.targets.push_back(rendered.generations[i]);
    }
  }
  if (chat.targets.empty()) {
    return absl::InvalidArgumentError("the template's {% generation %} marks nothing to learn");
  }
  return chat;
}

absl::Status ChatTemplate::FindTurns(const ordered_json& record, const jinja::List& messages,
                                     const std::vector<size_t>& turns, ChatText* chat) const {
  const auto changed = [](size_t turn) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message ", turn,
        ": the template writes it otherwise once later messages follow, or than its generation "
        "prompt begins; mark what is to be learnt by {% generation %} in the template, or train on "
        "the last turn (train_on: last)"));
  };
  for (const size_t turn : turns) {
    ASSIGN_OR_RETURN(const JinjaText prompt, RenderPart(record, messages, turn, true));
    ASSIGN_OR_RETURN(const JinjaText with_turn, RenderPart(record, messages, turn + 1, false));
    if (!absl::StartsWith(with_turn.text, prompt.text) ||
        !absl::StartsWith(chat->text, with_turn.text)) {
      return changed(turn);
    }
    const TextRange range(prompt.text.size(), with_turn.text.size());
    if (range.first < range.second) chat->targets.push_back(range);
  }
  if (chat->targets.empty()) return absl::InvalidArgumentError("the turns to learn are empty");
  return absl::OkStatus();
}

}  // namespace wyvern
