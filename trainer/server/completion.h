// Requests of OpenAI's completions and chat completions, and their answers.
// https://platform.openai.com/docs/api-reference/completions
#ifndef WYVERN_TRAINER_SERVER_COMPLETION_H_
#define WYVERN_TRAINER_SERVER_COMPLETION_H_

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/inference/stop_text.h"
#include "trainer/server/model_worker.h"
#include "trainer/server/served_model.h"

namespace wyvern {

struct CompletionRequest {
  bool chat = false;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::string> stop;
  std::optional<int32_t> end_of_turn;  // a token that ends the text, besides eos
  GenerateOptions options;             // max_tokens may be 0: nothing is written
  std::optional<int64_t> logprobs;     // alternatives listed for each token
  bool echo = false;                   // the prompt comes back in front of the text
  bool stream = false, stream_usage = false;
};

// The body of /v1/completions and of /v1/chat/completions, an object. Errors: InvalidArgument that
// names the key. Keys of OpenAI that have no meaning here may have the values that change nothing.
absl::StatusOr<CompletionRequest> ParseCompletion(const nlohmann::ordered_json& body,
                                                  const ServedModel& model);
absl::StatusOr<CompletionRequest> ParseChat(const nlohmann::ordered_json& body,
                                            const ServedModel& model);

// One request on its way from the model to its answer.
class Completion {
 public:
  // `model` outlives this.
  Completion(const ServedModel* model, CompletionRequest request, std::string id, int64_t created);

  const CompletionRequest& request() const { return request_; }

  // The model's part. While it is done, `on_text` gets the text that is added to the choice of this
  // index and returns whether to go on. This object and it must live until then.
  using OnText = std::function<bool(size_t choice, const std::string& text)>;
  ModelWork Work(const OnText& on_text);

  // The whole answer.
  nlohmann::json Answer(ModelAnswer answer);

  // The parts of a streamed answer, in this order: the beginning of each choice, its texts as they
  // come, the rest of its text and its end, and how many tokens there were.
  nlohmann::json FirstChunk(size_t choice) const;
  nlohmann::json TextChunk(size_t choice, const std::string& text) const;
  std::string Rest(size_t choice);
  nlohmann::json LastChunk(size_t choice, const ModelAnswer& answer) const;
  nlohmann::json UsageChunk(const ModelAnswer& answer) const;

 private:
  bool ScoresPrompts() const { return request_.echo && request_.logprobs.has_value(); }
  // The one token to write follows from the logits that score the prompt.
  bool WritesByScores() const;
  void TakeTokensOfScores(ModelAnswer* answer);
  bool AddToken(size_t choice, int32_t token, const OnText& on_text);
  nlohmann::json Envelope(const char* object) const;
  nlohmann::json Chunk(size_t choice, nlohmann::json content, nlohmann::json finish_reason) const;
  nlohmann::json FinishReasonOf(size_t choice, const ModelAnswer& answer) const;
  nlohmann::json Usage(const ModelAnswer& answer) const;
  nlohmann::json LogProbs(size_t choice, const ModelAnswer& answer) const;

  const ServedModel* model_;
  const CompletionRequest request_;
  const std::string id_;
  const int64_t created_;
  std::vector<StopText> stops_;
  std::vector<std::string> texts_;    // written so far
  std::vector<bool> at_end_of_turn_;  // of each choice
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SERVER_COMPLETION_H_
