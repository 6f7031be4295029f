#include "trainer/server/served_model.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/chat/load_chat_template.h"
#include "data/io/utf8.h"
#include "data/tokenizer/id_tokenizer.h"
#include "kernels/runtime/status.h"

namespace wyvern {

ServedModel::ServedModel(std::string name, std::unique_ptr<Tokenizer> tokenizer, int64_t vocab_size,
                         EncoderOptions options)
    : name_(std::move(name)),
      tokenizer_(std::move(tokenizer)),
      // A prompt that is too long is an error here: nothing is cut.
      encoder_(tokenizer_.get(), vocab_size, {.max_length = 0, .add_bos = options.add_bos}),
      max_length_(options.max_length) {}

absl::StatusOr<ServedModel> ServedModel::Make(std::string name,
                                              std::unique_ptr<Tokenizer> tokenizer,
                                              ChatOptions chat, int64_t vocab_size,
                                              EncoderOptions options) {
  ServedModel model(std::move(name), std::move(tokenizer), vocab_size, options);
  RETURN_IF_ERROR(model.ReadSpecialTokens());
  ASSIGN_OR_RETURN(model.chat_, ChatTemplate::Make(std::move(chat)));
  model.end_of_turn_ = FindEndOfTurn(*model.chat_, *model.tokenizer_);
  return model;
}

absl::Status ServedModel::ReadSpecialTokens() {
  ASSIGN_OR_RETURN(const ChatOptions chat, ChatTemplateOf(tokenizer_->files()));
  const auto add = [&](const std::string& key, std::optional<int32_t> id) {
    if (!id.has_value()) return;
    std::string name = absl::StrCat("<", key.substr(0, 3), ">");
    for (const auto& [token, text] : chat.special_tokens) {
      if (token == key && tokenizer_->Encode(text) == std::vector<int32_t>{*id}) name = text;
    }
    special_.emplace_back(name, *id);
  };
  add("bos_token", tokenizer_->bos_id());
  add("eos_token", tokenizer_->eos_id());
  return absl::OkStatus();
}

std::string ServedModel::TokenText(int32_t id) const {
  const std::string bytes = tokenizer_->BytesOf(id);
  if (bytes.empty()) return absl::StrCat("token_id:", id);
  if (Utf8PrefixLength(bytes) == bytes.size()) return bytes;
  std::string text = "bytes:";
  for (const char byte : bytes) absl::StrAppendFormat(&text, "\\x%02x", static_cast<uint8_t>(byte));
  return text;
}

absl::StatusOr<std::string> ServedModel::ChatPrompt(
    const nlohmann::ordered_json& conversation) const {
  return chat_->RenderPrompt(conversation);
}

nlohmann::json ServedModel::TokenizerInfo() const {
  nlohmann::json info = {{"tokenizer_class", tokenizer_->kind()},
                         {"bos_token", nullptr},
                         {"eos_token", nullptr},
                         {"pad_token", nullptr}};
  for (const auto& [name, id] : special_) {
    info[id == tokenizer_->eos_id() ? "eos_token" : "bos_token"] = name;
  }
  return info;
}

absl::StatusOr<std::vector<int32_t>> ServedModel::Encode(const std::string& text) const {
  for (const auto& [name, id] : special_) {
    if (text == name) return std::vector<int32_t>{id};
  }
  RETURN_IF_ERROR(CheckIsIds(*tokenizer_, text));
  return tokenizer_->Encode(text);
}

}  // namespace wyvern
