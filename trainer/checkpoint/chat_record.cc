#include "trainer/checkpoint/chat_record.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/chat/load_chat_template.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/manifest.h"

namespace wyvern {

nlohmann::json ChatRecord(const ChatOptions& chat) {
  nlohmann::json tokens = nlohmann::json::object();
  for (const auto& [name, token] : chat.special_tokens) tokens[name] = token;
  return {{"template", chat.source}, {"special_tokens", std::move(tokens)}};
}

absl::StatusOr<ChatOptions> CheckpointChat(const CheckpointInfo& checkpoint,
                                           const Tokenizer* tokenizer) {
  if (!checkpoint.meta.is_object() || !checkpoint.meta.contains("chat")) {
    return ChatTemplateOf(tokenizer == nullptr ? std::map<std::string, std::string>()
                                               : tokenizer->files());
  }
  const std::string file = absl::StrCat(checkpoint.path, "/", kManifestName);
  const JsonMembers record(checkpoint.meta["chat"], file, "meta.chat");
  ChatOptions chat;
  ASSIGN_OR_RETURN(chat.source, record.String("template"));
  chat.origin = absl::StrCat(file, ": chat template");
  const nlohmann::json tokens =
      checkpoint.meta["chat"].value("special_tokens", nlohmann::json::object());
  for (const auto& [name, token] : tokens.items()) {
    if (token.is_string()) chat.special_tokens.emplace_back(name, token.get<std::string>());
  }
  return chat;
}

bool CheckpointAddsBos(const CheckpointInfo& checkpoint) {
  return checkpoint.meta.is_object() && checkpoint.meta.value("add_bos", nlohmann::json()) == true;
}

}  // namespace wyvern
