// Texts of requests as token ids, divided and cut as lm-eval's `hf` model does it, so that both
// score the same tokens.
#ifndef WYVERN_TRAINER_REQUESTS_REQUEST_ENCODER_H_
#define WYVERN_TRAINER_REQUESTS_REQUEST_ENCODER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/scoring/scorer.h"

namespace wyvern {

struct EncoderOptions {
  int64_t max_length = 0;  // tokens that the model reads of one request; 0: all of them
  bool add_bos = false;    // bos before every text
};

// Errors are InvalidArgument and do not name the request.
class RequestEncoder {
 public:
  // `tokenizer` may be null: then requests are token ids alone. It must outlive this.
  RequestEncoder(const Tokenizer* tokenizer, int64_t vocab_size, EncoderOptions options)
      : tokenizer_(tokenizer), vocab_size_(vocab_size), options_(options) {}

  // Null where the checkpoint has none.
  const Tokenizer* tokenizer() const { return tokenizer_; }

  // Errors: no tokenizer, a text that is not of its kind, no bos where one is asked for.
  absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text) const;
  // Error: an id outside the vocabulary.
  absl::Status CheckIds(const std::vector<int32_t>& ids) const;

  // White space at the context's end is encoded with the continuation, whose tokens are those that
  // the whole text has more than the context. An empty context is bos, else eos.
  absl::StatusOr<ScoreRequest> EncodePair(std::string context, std::string continuation) const;
  // The same of ids. Leaves of the context what fits into max_length. Errors: a continuation that
  // is empty or longer than that.
  absl::StatusOr<ScoreRequest> Pair(std::vector<int32_t> context,
                                    std::vector<int32_t> continuation) const;

  // RollingRequests (trainer/scoring/rolling.h) of a text that begins anew.
  absl::StatusOr<std::vector<ScoreRequest>> Windows(const std::vector<int32_t>& ids) const;

  // The end of the ids that leaves room for `max_tokens` in max_length, as a model reads it before
  // it writes these. Without ids, bos, else eos.
  absl::StatusOr<std::vector<int32_t>> Prompt(std::vector<int32_t> ids, int64_t max_tokens) const;

 private:
  // The token before a text that begins anew. Error: the tokenizer has neither bos nor eos.
  absl::StatusOr<int32_t> StartToken() const;

  const Tokenizer* tokenizer_;
  int64_t vocab_size_;
  EncoderOptions options_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REQUESTS_REQUEST_ENCODER_H_
