// Documents divided into the stores train.h5 and val.h5, both of which appear or none.
#ifndef WYVERN_DATA_STORE_SPLIT_STORES_H_
#define WYVERN_DATA_STORE_SPLIT_STORES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/store/token_store.h"
#include "data/text/text_source.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/random.h"

namespace wyvern {

struct SplitOptions {
  std::string output_dir;  // receives train.h5 and val.h5
  // The held-out documents: this share of all, drawn document by document from (seed, index); or
  // exactly val_documents of them when that is not zero. Both zero: no val.h5.
  double val_fraction = 0.01;
  int64_t val_documents = 0;
  uint64_t seed = 1;
};

// Names the member that is out of its range.
absl::Status Validate(const SplitOptions& options);

// The stores that there are then.
struct SplitResult {
  std::string train_path;
  std::string val_path;  // empty without a held-out split
  int64_t train_documents = 0, val_documents = 0;
  int64_t train_tokens = 0, val_tokens = 0;

  // A line for each store. Without a held-out split, `why_one` follows if there is one document.
  std::string StoresText(const std::string& why_one) const;
};

// Receives the documents of one pass, in order.
class SplitStores {
 public:
  // `is_chat`: of conversations (TokenStoreWriter::CreateForChat).
  // A document is held out if its key, uniform in [0, 1), is below `bound`.
  static absl::StatusOr<std::unique_ptr<SplitStores>> Create(const SplitOptions& options,
                                                             const Tokenizer& tokenizer,
                                                             double bound, bool is_chat);

  // The key of the current document, in the place of the one that its number gives; before Append.
  void SetKey(double key) { key_ = key; }
  // Continues the current document.
  absl::Status Append(absl::Span<const int32_t> tokens);
  absl::Status Append(absl::Span<const int32_t> tokens, absl::Span<const uint8_t> learnt);
  // Ends the current document, which came from source file `source`. Adds no token.
  absl::Status EndDocument(int32_t source);

  // If a split is empty that should not be: the bound that moves one document there.
  bool FindBetterBound(double* bound) const;

  int64_t num_documents() const { return documents_; }
  int64_t num_tokens() const { return train_->num_tokens() + val_->num_tokens(); }
  const TokenStoreWriter& train() const { return *train_; }
  const TokenStoreWriter& val() const { return *val_; }
  bool has_val() const { return val_->num_documents() > 0; }
  std::string train_path() const;
  std::string val_path() const;

  // Writes all of both files under their temporary names, as TokenStoreWriter::Complete.
  absl::Status Complete(const std::vector<std::string>& source_files,
                        const std::string& preparation);
  // Gives both their names, val.h5 first; removes an old val.h5 where there is no new one. On an
  // error, old stores stay as they were.
  absl::Status Commit();
  // Both of these, and prepared.json (data/store/made_from.h) before the names.
  absl::StatusOr<SplitResult> CommitPrepared(const std::vector<std::string>& source_files,
                                             const std::string& preparation,
                                             const std::vector<ReadFileInfo>& read);

 private:
  SplitStores(const SplitOptions& options, double bound);
  TokenStoreWriter& current() const { return key_ < bound_ ? *val_ : *train_; }

  const std::string output_dir_;
  const Random keys_;
  const double bound_;
  double key_;  // of the current document
  std::unique_ptr<TokenStoreWriter> train_, val_;
  int64_t documents_ = 0;
  double smallest_key_ = 1, largest_key_ = 0;
};

// Documents that can be gone through more than once.
class SplitInput {
 public:
  virtual ~SplitInput() = default;
  // False for a pipe.
  virtual bool can_be_read_again() const = 0;
  virtual bool is_chat() const { return false; }
  virtual absl::StatusOr<int64_t> CountDocuments() = 0;
  // Hands every document to `stores`. An error unless a former pass read the same.
  virtual absl::Status Read(SplitStores* stores) = 0;
};

// Fills stores with the documents, for the caller to complete and commit. With two documents or
// more, and a held-out split asked for, each split gets one at least; a single document goes to
// train.h5 and there is no val.h5, which is an error where val_documents asks for one. It reads the
// input once, and once more if documents have to be counted first or if the first pass left a split
// empty.
absl::StatusOr<std::unique_ptr<SplitStores>> Split(const SplitOptions& options,
                                                   const Tokenizer& tokenizer, SplitInput* input);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_SPLIT_STORES_H_
