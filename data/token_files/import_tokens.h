// From the token files of other programs to token stores: `wyvern data import-tokens`.
#ifndef WYVERN_DATA_TOKEN_FILES_IMPORT_TOKENS_H_
#define WYVERN_DATA_TOKEN_FILES_IMPORT_TOKENS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/store/split_stores.h"
#include "data/token_files/token_file.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// Where documents end.
enum class DocumentEnd {
  kFile,  // the file's index or rows; where it has none, the file's end
  kEos,   // each eos and nothing else: a document may go on in the next file
};

struct ImportTokensOptions {
  std::vector<std::string> paths;  // in this order
  TokenFileOptions file;           // of each
  DocumentEnd document_end = DocumentEnd::kFile;
  SplitOptions split;
  bool progress = true;  // on stderr
};

struct ImportTokensResult : SplitResult {
  std::vector<std::string> formats;  // of each file: "megatron, uint16, 12 tokens"
  int64_t added_eos = 0;             // documents that did not end in eos
  int64_t empty_documents = 0;       // left out
  int64_t repeated_files = 0;        // reached by several names and read once
  double seconds = 0;
  std::string ToString() const;  // one paragraph for the console
};

// Makes stores of the ids as they are. Each document is closed by the tokenizer's eos, which is
// added where it is absent. A file that is reached by several names is read once, at the first.
// Errors: those of TokenFile, a tokenizer without eos for kEos, no token in all of the files, a
// file at an output that is no store or is an input.
absl::StatusOr<ImportTokensResult> ImportTokens(const ImportTokensOptions& options,
                                                const Tokenizer& tokenizer);

// Whether ImportTokens would make the store train.h5 in options.split.output_dir the same again, by
// CheckMadeFrom. Files that are gone are said in `notes`. FailedPrecondition says what is
// different.
absl::Status CheckImported(const ImportTokensOptions& options, const Tokenizer& tokenizer,
                           std::vector<std::string>* notes);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKEN_FILES_IMPORT_TOKENS_H_
