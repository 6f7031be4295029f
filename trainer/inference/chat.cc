#include "trainer/inference/chat.h"

#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer/end_of_turn.h"
#include "kernels/runtime/status.h"
#include "trainer/inference/stop_text.h"

namespace wyvern {

absl::StatusOr<GeneratedText> GenerateTurn(Model* model, const Tokenizer& tokenizer,
                                           const ChatTemplate& chat,
                                           const nlohmann::ordered_json& record,
                                           GenerateOptions options,
                                           const std::function<bool(const std::string&)>& on_text) {
  ASSIGN_OR_RETURN(const std::string prompt, chat.RenderPrompt(record));
  const std::vector<int32_t> ids = PromptIds(tokenizer, prompt, options);
  const EndOfTurn end = FindEndOfTurn(chat, tokenizer);
  options.eos_id = tokenizer.eos_id();

  GeneratedText result;
  std::vector<std::string> stops;
  if (!end.id.has_value() && !end.text.empty()) stops.push_back(end.text);
  StopText stream(tokenizer, ids.empty() ? 0 : ids.back(), std::move(stops));
  const auto show = [&](const std::string& piece) {
    result.text += piece;
    return !on_text || piece.empty() || on_text(piece);
  };
  const auto on_token = [&](int32_t token) {
    if (end.id == token) return false;
    ++result.num_tokens;
    return show(stream.Add(token)) && !stream.stopped();
  };
  RETURN_IF_ERROR(Generate(model, ids, options, on_token).status());
  show(stream.Rest());
  return result;
}

}  // namespace wyvern
