// Conversations as text, with the parts that a model is to learn to write.
#ifndef WYVERN_DATA_CHAT_CHAT_TEMPLATE_H_
#define WYVERN_DATA_CHAT_CHAT_TEMPLATE_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/jinja.h"

namespace wyvern {

// The assistant's turns that are learnt: every one, or a conversation's last.
enum class TrainedTurns { kAll, kLast };

constexpr const char* Name(TrainedTurns turns) {
  return turns == TrainedTurns::kAll ? "all" : "last";
}

struct ChatOptions {
  std::string source;  // the Jinja2 template; empty: records of prompt and completion alone
  // Where the template comes from, for messages; without a source, why there is none.
  std::string origin;
  // The template sees them as bos_token, eos_token and so on.
  std::vector<std::pair<std::string, std::string>> special_tokens;
  TrainedTurns train_on = TrainedTurns::kAll;
};

// A range of bytes.
using TextRange = std::pair<size_t, size_t>;

struct ChatText {
  std::string text;
  std::vector<TextRange> targets;  // what is learnt, in order, without overlap; none is empty
  bool needs_eos = false;          // the text's end is one of the document, which is learnt, too
};

class ChatTemplate {
 public:
  // Errors: as of JinjaTemplate::Parse.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Make(const ChatOptions& options);

  // The record is one of
  //   {"messages": [{"role": ..., "content": ...}, ...]}
  //   {"prompt": [messages], "completion": [messages]}
  //   {"prompt": "...", "completion": "..."}
  // or in a form of data/chat/conversation_forms.h, with "tools" and "chat_template_kwargs" beside
  // messages. Messages are rendered as transformers'
  // apply_chat_template does. What is learnt:
  // - of two strings, the completion and the document's end;
  // - what the template marks by {% generation %}, if it does;
  // - else, of each of the assistant's turns, what the template writes behind the prompt that asks
  //   for it (add_generation_prompt).
  // Nothing of a prompt is learnt. Errors: another record, a conversation without a turn to
  // learn, a template that fails, or one that changes earlier turns later, so that what the model
  // would have written is not in the text.
  absl::StatusOr<ChatText> Render(const nlohmann::ordered_json& record) const;

  // The text that asks for the assistant's next turn behind all messages of the record, which is
  // one of those above but two strings. Errors: as Render, but for a conversation without a turn.
  absl::StatusOr<std::string> RenderPrompt(const nlohmann::ordered_json& record) const;

  // The text that the template writes behind an assistant's turn that is the last one; empty: none,
  // or it cannot be told.
  std::string BehindTurn() const;

 private:
  ChatTemplate(ChatOptions options, std::optional<JinjaTemplate> jinja)
      : options_(std::move(options)), jinja_(std::move(jinja)) {}

  // The messages of a record; `first_trained` is the number of those that are a prompt.
  static absl::StatusOr<jinja::List> MessagesOf(const nlohmann::ordered_json& record,
                                                size_t* first_trained);
  absl::Status CheckTemplate() const;
  absl::StatusOr<ChatText> RenderMessages(const nlohmann::ordered_json& record,
                                          const jinja::List& messages, size_t first_trained) const;
  absl::StatusOr<JinjaText> RenderPart(const nlohmann::ordered_json& record,
                                       const jinja::List& messages, size_t count,
                                       bool add_generation_prompt) const;
  absl::Status FindTurns(const nlohmann::ordered_json& record, const jinja::List& messages,
                         const std::vector<size_t>& turns, ChatText* chat) const;

  ChatOptions options_;
  std::optional<JinjaTemplate> jinja_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_CHAT_CHAT_TEMPLATE_H_
