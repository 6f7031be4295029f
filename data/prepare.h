// From raw text to token stores, and from raw text to a tokenizer: `wyvern data prepare` and
// `wyvern data tokenizer`.
#ifndef WYVERN_DATA_PREPARE_H_
#define WYVERN_DATA_PREPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text_source.h"

namespace wyvern {

struct PrepareOptions {
  TextSourceOptions source;
  std::string tokenizer = "byte";  // "byte" or the path of a SentencePiece model
  std::string output_dir;          // receives train.h5 and val.h5
  // The held-out documents: this share of all, drawn document by document from (seed, index); or
  // exactly val_documents of them when that is not zero. Both zero: no val.h5.
  double val_fraction = 0.01;
  int64_t val_documents = 0;
  uint64_t seed = 1;
  int num_threads = 0;   // 0: every core. The stores do not depend on it.
  bool progress = true;  // on stderr: a live bar on a terminal, else a line now and then
};

struct PrepareResult {
  std::string train_path;
  std::string val_path;  // empty without a held-out split
  int64_t train_documents = 0, val_documents = 0;
  int64_t train_tokens = 0, val_tokens = 0;
  int64_t text_bytes = 0;  // UTF-8, uncompressed
  double seconds = 0;
  double megabytes_per_second = 0;  // of text
  double tokens_per_second = 0;
  bool has_separator = false;      // a document_separator was given
  std::vector<std::string> notes;  // TextSource::Notes
  std::string ToString() const;    // one paragraph for the console
};

// Tokenises the source in parallel and in bounded memory; appends eos (if the tokenizer has one) to
// every document. With two documents or more, and a held-out split asked for, each split gets one
// at least; a single document goes to train.h5 and there is no val.h5.
//
// Text that changes while it is read is an error, also between the passes of a split that needs
// two. Either both stores appear or, on an error, none does and old ones stay. train.h5 comes last,
// so that it is there only with a whole val.h5; one of two preparations, which a killed process may
// leave in the place of old stores, is told by TokenStore::CheckSamePreparation, and the same
// command goes through again. Writes prepared.json (data/preparation.h), too.
absl::StatusOr<PrepareResult> PrepareStore(const PrepareOptions& options);

struct TokenizerTrainOptions {
  std::vector<TextSourceOptions> sources;  // each read in its own way
  std::string output;                      // path of the .model file to write
  std::string type = "bpe";                // or "unigram"
  int64_t vocab_size = 32000;
  double character_coverage = 0.9995;
  // At most this much text is used, a uniform sample of all lines; the trainer's memory is several
  // times as much.
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
// then 256 bytes. Errors: no text; a vocabulary too large or too small for the text.
absl::StatusOr<TokenizerTrainResult> TrainTokenizer(const TokenizerTrainOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_PREPARE_H_
