// From raw text to a SentencePiece model or a tokenizer.json: `wyvern data tokenizer`.
#ifndef WYVERN_DATA_TOKENIZER_TOKENIZER_TRAINING_H_
#define WYVERN_DATA_TOKENIZER_TOKENIZER_TRAINING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/text_source.h"
#include "data/tokenizer/byte_level_training.h"
#include "data/tokenizer/tokenizer_type.h"

namespace wyvern {

struct TokenizerTrainOptions {
  std::vector<TextSourceOptions> sources;    // each read in its own way
  std::string output;                        // path of the .model or tokenizer.json to write
  TokenizerType type = TokenizerType::kBpe;  // or kUnigram
  bool is_byte_level = false;                // a tokenizer.json of type kBpe instead of a .model
  ByteLevelOptions byte_level;               // of such a one
  int64_t vocab_size = 32000;
  double character_coverage = 0.9995;  // of a .model
  // At most this much text is used, a uniform sample of all lines, or of all documents for a
  // tokenizer.json; the trainer's memory is several times as much.
  int64_t max_sample_bytes = int64_t{256} << 20;
  uint64_t seed = 1;
  int num_threads = 0;  // 0: every core
};

struct TokenizerTrainResult {
  std::string path;
  std::string hash;
  int64_t vocab_size = 0;
  int64_t text_bytes = 0;    // read
  int64_t sample_bytes = 0;  // used
  double seconds = 0;
  std::vector<std::string> notes;  // TextSource::Notes
  std::string ToString() const;
};

// Trains a SentencePiece model that falls back to bytes, keeps all white space and normalises
// nothing: Decode(Encode(s)) == s for valid UTF-8 without U+2581. Ids: 0 unknown, 1 bos, 2 eos,
// then 256 bytes. Or trains a tokenizer.json (data/tokenizer/byte_level_training.h), and writes
// tokenizer_config.json beside it. Errors: no text; a vocabulary too large or too small for the
// text; another tokenizer_config.json there.
absl::StatusOr<TokenizerTrainResult> TrainTokenizer(const TokenizerTrainOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKENIZER_TRAINING_H_
