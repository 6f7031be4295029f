// A model as a server knows it without running it: its name, tokenizer and chat template.
#ifndef WYVERN_TRAINER_SERVER_SERVED_MODEL_H_
#define WYVERN_TRAINER_SERVER_SERVED_MODEL_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/chat/chat_template.h"
#include "data/tokenizer/end_of_turn.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/requests/request_encoder.h"

namespace wyvern {

class ServedModel {
 public:
  // `chat`: by which conversations are rendered. `max_length`: tokens of a prompt and its answer
  // together; 0: any number. Errors: a chat template that cannot be read.
  static absl::StatusOr<ServedModel> Make(std::string name, std::unique_ptr<Tokenizer> tokenizer,
                                          ChatOptions chat, int64_t vocab_size,
                                          EncoderOptions options);

  const std::string& name() const { return name_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const RequestEncoder& encoder() const { return encoder_; }
  int64_t max_length() const { return max_length_; }

  // The text that stands in an answer for one token. A part of a character is "bytes:\xE2\x82",
  // and a token without a text is "token_id:257".
  std::string TokenText(int32_t id) const;

  // The prompt of a conversation, by the chat template. Errors: there is none, or it fails.
  absl::StatusOr<std::string> ChatPrompt(const nlohmann::ordered_json& conversation) const;
  // By which an answer to one ends.
  const EndOfTurn& end_of_turn() const { return end_of_turn_; }

  // vLLM's /tokenizer_info, from which lm-eval takes bos and eos: their names, which Encode gives
  // back as their ids.
  nlohmann::json TokenizerInfo() const;
  absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text) const;

 private:
  ServedModel(std::string name, std::unique_ptr<Tokenizer> tokenizer, int64_t vocab_size,
              EncoderOptions options);
  absl::Status ReadSpecialTokens();

  std::string name_;
  std::unique_ptr<Tokenizer> tokenizer_;
  RequestEncoder encoder_;
  int64_t max_length_;
  std::unique_ptr<ChatTemplate> chat_;
  EndOfTurn end_of_turn_;
  std::vector<std::pair<std::string, int32_t>> special_;  // bos and eos by their names
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SERVER_SERVED_MODEL_H_
