// The HDF5 token store: all documents' tokens end to end, with their boundaries and provenance.
// data/README.md documents the layout, which any HDF5 reader can follow.
#ifndef WYVERN_DATA_STORE_TOKEN_STORE_H_
#define WYVERN_DATA_STORE_TOKEN_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// Writes a store under a temporary name; it appears under `path` only when Finish succeeds.
class TokenStoreWriter {
 public:
  static absl::StatusOr<std::unique_ptr<TokenStoreWriter>> Create(const std::string& path,
                                                                  const Tokenizer& tokenizer);
  // The same for a store of conversations, of whose tokens only some are learnt.
  static absl::StatusOr<std::unique_ptr<TokenStoreWriter>> CreateForChat(
      const std::string& path, const Tokenizer& tokenizer);
  virtual ~TokenStoreWriter() = default;  // unfinished: removes the temporary file

  // Continues the current document with tokens that are all learnt. Errors: an id outside the
  // vocabulary, a full disk.
  virtual absl::Status Append(absl::Span<const int32_t> tokens) = 0;
  // The same with 1 for each token that is learnt, else 0. For stores of conversations alone.
  virtual absl::Status Append(absl::Span<const int32_t> tokens,
                              absl::Span<const uint8_t> learnt) = 0;
  // Ends the current document, which came from source_files[source]. Adds no token.
  virtual absl::Status EndDocument(int32_t source) = 0;
  // Complete writes and closes all of the file under its temporary name; Commit gives it its own
  // name. Several stores that belong together are all completed, then committed. `preparation` says
  // what they are made from, in equal words (data/store/preparation.h). Finish does both, and
  // leaves that out.
  virtual absl::Status Complete(const std::vector<std::string>& source_files,
                                const std::string& preparation) = 0;
  virtual absl::Status Commit() = 0;
  absl::Status Finish(const std::vector<std::string>& source_files);

  virtual int64_t num_tokens() const = 0;
  virtual int64_t num_documents() const = 0;
};

// A store's description of itself.
struct TokenStoreInfo {
  int64_t format_version = 0;
  int64_t num_tokens = 0;
  int64_t num_documents = 0;
  int64_t vocab_size = 0;
  int64_t token_bytes = 0;   // 2 or 4 on disk
  int64_t block_tokens = 0;  // tokens per checksum
  int64_t file_bytes = 0;    // of all its files
  int64_t num_shards = 0;    // 0: it is one file
  std::optional<int32_t> eos_id;
  std::string tokenizer_kind;
  std::string tokenizer_hash;
  std::string preparation_id;  // a hash of what the store was made from; empty: it does not say
};

// Reads a store. All members may be called from any thread.
class TokenStore {
 public:
  // Checks the structure, the header and the document boundaries (8 bytes per document stay in
  // memory) but not the tokens, whose checksums are verified block by block as they are read. In a
  // folder of shards (data/store/prepare_shards.h), FOLDER/train.h5 and FOLDER/val.h5 are the
  // stores of all shards, end to end.
  static absl::StatusOr<std::shared_ptr<TokenStore>> Open(const std::string& path);
  virtual ~TokenStore() = default;

  virtual const std::string& path() const = 0;
  virtual const TokenStoreInfo& info() const = 0;
  int64_t num_tokens() const { return info().num_tokens; }
  int64_t num_documents() const { return info().num_documents; }

  // Tokens [begin, end) into `out`. A damaged block is DataLoss that names file and block.
  virtual absl::Status Read(int64_t begin, int64_t end, int32_t* out) const = 0;
  // Whether some tokens may not be learnt; ReadLearnt says which: 1 for each token of [begin, end)
  // that is a target of the loss, else 0.
  virtual bool has_learnt() const = 0;
  virtual absl::Status ReadLearnt(int64_t begin, int64_t end, uint8_t* out) const = 0;
  // Reads everything once and checks every checksum.
  virtual absl::Status Verify() const = 0;

  // [num_documents + 1]; document d is tokens [offsets[d], offsets[d + 1]).
  virtual absl::Span<const int64_t> document_offsets() const = 0;
  // Hands them over to a store that this one is a part of; there are none here from then on.
  virtual std::vector<int64_t> MoveDocumentOffsets() = 0;
  // The document that holds the token; 0 <= token < num_tokens.
  int64_t DocumentAt(int64_t token) const;

  virtual absl::StatusOr<std::vector<std::string>> ReadSourceFiles() const = 0;
  // Per document, the index of its source file.
  virtual absl::StatusOr<std::vector<int32_t>> ReadDocumentSources() const = 0;
  // The tokenizer embedded in the store.
  virtual absl::StatusOr<std::unique_ptr<Tokenizer>> MakeStoreTokenizer() const = 0;
  // Describes what the store was made from; empty if the store does not say.
  virtual absl::StatusOr<std::string> ReadPreparation() const = 0;
  // FailedPrecondition unless both were made by one preparation.
  absl::Status CheckSamePreparation(const TokenStore& other) const;
  // InvalidArgument unless the store was made with a tokenizer of this hash and vocabulary.
  absl::Status CheckTokenizer(const Tokenizer& tokenizer) const;
  // 16 hex digits that change with the tokens, their order, the boundaries or what is learnt: names
  // the data in a run's manifest.
  virtual std::string fingerprint() const = 0;
};

// Whether there is a store at `path`: a file, or a folder of shards, some of which may be missing.
bool StoreExists(const std::string& path);
// Whether it can be opened: not of shards that are missing.
bool IsStoreWhole(const std::string& path);

// ReadPreparation of a store that is one file and is not opened otherwise.
absl::StatusOr<std::string> ReadStorePreparation(const std::string& path);

// The text of `wyvern data info`: counts, provenance, the first tokens as text and, with `verify`,
// the verdict of a full check (a damaged store is the error).
absl::StatusOr<std::string> DescribeStore(const std::string& path, bool verify);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_TOKEN_STORE_H_
