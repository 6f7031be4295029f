// Text from a model, one token at a time over a DecodeCache.
#ifndef WYVERN_TRAINER_INFERENCE_GENERATE_H_
#define WYVERN_TRAINER_INFERENCE_GENERATE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/model.h"
#include "trainer/inference/sampling.h"

namespace wyvern {

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 256;       // new ones
  int64_t prefill_chunk = 512;    // prompt tokens per forward
  std::optional<int32_t> eos_id;  // ends the text; not part of it
  bool add_bos = false;           // of texts: the tokenizer's bos begins the prompt, as PromptIds
};

// Continues `prompt` (one token at least). `on_token` gets each new token and returns whether to go
// on; it may be empty. Work and memory per token are constant in delta-rule layers and grow with
// the window in attention. Errors: an empty prompt, ids outside the vocabulary, bad options, logits
// that are all NaN.
absl::StatusOr<std::vector<int32_t>> Generate(Model* model, absl::Span<const int32_t> prompt,
                                              const GenerateOptions& options,
                                              const std::function<bool(int32_t)>& on_token = {});

// Text of tokens that arrive one by one, in whole UTF-8 characters. A token's text may depend on
// the one before it (SentencePiece's leading space) and may end inside a character; the work per
// token is constant.
class TextStream {
 public:
  // `previous` is the token before the first one.
  TextStream(const Tokenizer& tokenizer, int32_t previous);

  // The text that this token completes; may be empty.
  std::string Add(int32_t token);
  // The text of tokens that is held back since it ends inside a character.
  std::string Rest() const;

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> context_;  // a token already shown, and those held back
  size_t shown_;                  // bytes of the context's text that are out
};

// The ids of a text that is a prompt. With options.add_bos, bos comes first unless it does already.
std::vector<int32_t> PromptIds(const Tokenizer& tokenizer, const std::string& prompt,
                               const GenerateOptions& options);

struct GeneratedText {
  std::string text;        // without the prompt
  int64_t num_tokens = 0;  // that it was decoded from
};

// Generate on text, up to the tokenizer's eos. An empty prompt starts from bos, else eos. `on_text`
// gets the new text in parts of whole UTF-8 characters, and returns whether to continue.
absl::StatusOr<GeneratedText> GenerateText(
    Model* model, const Tokenizer& tokenizer, const std::string& prompt, GenerateOptions options,
    const std::function<bool(const std::string&)>& on_text = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INFERENCE_GENERATE_H_
