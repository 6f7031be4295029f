#include "data/chat/conversation_forms.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using nlohmann::ordered_json;

const std::map<std::string, std::string>& RolesOfSpeakers() {
  static const auto* roles = new std::map<std::string, std::string>{
      {"human", "user"},          {"user", "user"},         {"gpt", "assistant"},
      {"assistant", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
      {"bard", "assistant"},      {"model", "assistant"},   {"system", "system"},
      {"tool", "tool"},           {"observation", "tool"}};
  return *roles;
}

ordered_json Message(const std::string& role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

// A member that holds a text; empty where it is absent or null.
absl::StatusOr<std::string> TextOf(const ordered_json& object, const char* name) {
  if (!object.contains(name) || object[name].is_null()) return std::string();
  if (object[name].is_string()) return object[name].get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\": expected a text"));
}

absl::Status AppendSpeeches(const ordered_json& speeches, ordered_json* messages) {
  if (!speeches.is_array()) {
    return absl::InvalidArgumentError("\"conversations\": expected a list");
  }
  for (size_t i = 0; i < speeches.size(); ++i) {
    const ordered_json& speech = speeches[i];
    if (speech.is_object() && speech.contains("role")) {
      messages->push_back(speech);
      continue;
    }
    const bool is_known = speech.is_object() && speech.contains("from") &&
                          speech["from"].is_string() && speech.contains("value") &&
                          speech["value"].is_string();
    if (!is_known) {
      return absl::InvalidArgumentError(absl::StrCat(
          "conversations[", i, "]: expected an object with \"from\" and \"value\", both texts"));
    }
    const auto speaker = speech["from"].get<std::string>();
    const auto role = RolesOfSpeakers().find(speaker);
    if (role == RolesOfSpeakers().end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "conversations[", i, "]: \"from\": expected human, gpt, system or tool, got ", speaker,
          "; write such conversations as \"messages\""));
    }
    messages->push_back(Message(role->second, speech["value"].get<std::string>()));
  }
  return absl::OkStatus();
}

absl::Status AppendAlpaca(const ordered_json& record, ordered_json* messages) {
  const ordered_json history = record.value("history", ordered_json());
  if (!history.is_null() && !history.is_array()) {
    return absl::InvalidArgumentError("\"history\": expected a list");
  }
  for (const ordered_json& pair : history) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      return absl::InvalidArgumentError("\"history\": expected pairs of a question and an answer");
    }
    messages->push_back(Message("user", pair[0].get<std::string>()));
    messages->push_back(Message("assistant", pair[1].get<std::string>()));
  }
  ASSIGN_OR_RETURN(std::string question, TextOf(record, "instruction"));
  ASSIGN_OR_RETURN(const std::string input, TextOf(record, "input"));
  ASSIGN_OR_RETURN(const std::string answer, TextOf(record, "output"));
  if (!input.empty()) absl::StrAppend(&question, question.empty() ? "" : "\n", input);
  messages->push_back(Message("user", question));
  messages->push_back(Message("assistant", answer));
  return absl::OkStatus();
}

}  // namespace

bool IsMemberOfConversations(absl::string_view name) {
  constexpr absl::string_view kMembers[] = {
      "messages", "conversations", "prompt", "completion", "instruction",         "input",
      "output",   "history",       "system", "tools",      "chat_template_kwargs"};
  return std::find(std::begin(kMembers), std::end(kMembers), name) != std::end(kMembers);
}

bool HoldsConversation(const std::set<std::string>& members) {
  const auto has = [&members](const char* name) { return members.count(name) > 0; };
  return has("messages") || has("conversations") || (has("prompt") && has("completion")) ||
         (has("instruction") && has("output"));
}

absl::StatusOr<std::optional<ordered_json>> MessagesOfOtherForm(const ordered_json& record) {
  const bool is_alpaca = record.contains("instruction") && record.contains("output");
  if (!record.contains("conversations") && !is_alpaca) return std::optional<ordered_json>();
  ordered_json messages = ordered_json::array();
  ASSIGN_OR_RETURN(const std::string system, TextOf(record, "system"));
  if (!system.empty()) messages.push_back(Message("system", system));
  RETURN_IF_ERROR(record.contains("conversations")
                      ? AppendSpeeches(record["conversations"], &messages)
                      : AppendAlpaca(record, &messages));
  return std::optional<ordered_json>(std::move(messages));
}

}  // namespace wyvern
