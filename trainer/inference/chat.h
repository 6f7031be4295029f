// An answer of a model that was trained on conversations.
#ifndef WYVERN_TRAINER_INFERENCE_CHAT_H_
#define WYVERN_TRAINER_INFERENCE_CHAT_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "data/chat/chat_template.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/model.h"
#include "trainer/inference/generate.h"

namespace wyvern {

// The assistant's next turn behind the record's messages (ChatTemplate::RenderPrompt), up to the
// end of a turn (data/tokenizer/end_of_turn.h) or eos. `on_text` as in GenerateText. Errors: those
// of RenderPrompt and Generate.
absl::StatusOr<GeneratedText> GenerateTurn(
    Model* model, const Tokenizer& tokenizer, const ChatTemplate& chat,
    const nlohmann::ordered_json& record, GenerateOptions options,
    const std::function<bool(const std::string&)>& on_text = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INFERENCE_CHAT_H_
