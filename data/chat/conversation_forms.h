// Other forms of conversations, as messages.
#ifndef WYVERN_DATA_CHAT_CONVERSATION_FORMS_H_
#define WYVERN_DATA_CHAT_CONVERSATION_FORMS_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// The members by which a record is a conversation (data/chat/chat_template.h), for messages.
inline constexpr char kConversationMembers[] =
    "\"messages\" or \"conversations\", \"prompt\" and \"completion\", or \"instruction\" and "
    "\"output\"";

// Whether conversations have a member of this name, and whether such members make one.
bool IsMemberOfConversations(absl::string_view name);
bool HoldsConversation(const std::set<std::string>& members);

// The list of {"role", "content"} of a record in one of these forms; nothing of another one.
// ShareGPT:
//   {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}
// - Speakers: human or user; gpt, assistant, chatgpt, bing, bard or model; system; tool or
//   observation. An entry that has "role" is a message already.
// Alpaca:
//   {"instruction": ..., "input": ..., "output": ..., "history": [[question, answer], ...]}
// - The input follows the instruction behind a newline. It may be empty, null or absent.
// Either may have "system" beside it, which comes first.
//
// Errors: another speaker; a text that is none.
absl::StatusOr<std::optional<nlohmann::ordered_json>> MessagesOfOtherForm(
    const nlohmann::ordered_json& record);

}  // namespace wyvern

#endif  // WYVERN_DATA_CHAT_CONVERSATION_FORMS_H_
