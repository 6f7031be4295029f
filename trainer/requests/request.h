// Requests of `wyvern score` and their answers, an object of JSON each. docs/evaluation.md says
// which keys they have.
#ifndef WYVERN_TRAINER_REQUESTS_REQUEST_H_
#define WYVERN_TRAINER_REQUESTS_REQUEST_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "trainer/requests/request_encoder.h"
#include "trainer/scoring/scorer.h"

namespace wyvern {

// Asks how likely a continuation is.
struct PairRequest {
  ScoreRequest pair;
};

// Asks how likely a whole text is.
struct TextRequest {
  std::vector<ScoreRequest> windows;
  int64_t num_bytes = 0;
};

// Asks for the text that the model writes behind a prompt.
struct PromptRequest {
  std::vector<int32_t> prompt;
  std::vector<std::string> until;  // ends before the first of these
  GenerateOptions options;
};

struct Request {
  std::string place;  // for messages
  nlohmann::json id;  // comes back with the answer; null: none
  std::variant<PairRequest, TextRequest, PromptRequest> work;
};

// Error (InvalidArgument): no JSON, a key that is missing, unknown or of another type, what the
// encoder refuses. The message begins with `place` and names the key.
absl::StatusOr<Request> ParseRequest(absl::string_view line, const std::string& place,
                                     const RequestEncoder& encoder);
// One of each line that is not blank. The places of their errors are "`name`:LINE".
absl::StatusOr<std::vector<Request>> ParseRequests(absl::string_view lines, const std::string& name,
                                                   const RequestEncoder& encoder);

// The answers in the order of the requests. Prompts need the tokenizer. Errors: as of the scorer, a
// log-likelihood that is not finite.
absl::StatusOr<std::vector<nlohmann::json>> Answer(Scorer* scorer, const Tokenizer* tokenizer,
                                                   absl::Span<const Request> requests);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REQUESTS_REQUEST_H_
