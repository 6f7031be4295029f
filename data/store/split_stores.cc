#include "data/store/split_stores.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <queue>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "data/io/unique_name.h"
#include "data/store/made_from.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr char kKeys[] = "held-out documents";

double JustAbove(double key) { return std::nextafter(key, 2.0); }

absl::Status ReadOnce() {
  return absl::InvalidArgumentError(
      "a pipe can be read only once, and this split needs to count its documents first; write the "
      "text to a file, or hold out no document");
}

// The bound that holds out exactly val_documents of so many.
absl::StatusOr<double> BoundForCount(const SplitOptions& options, int64_t documents) {
  if (documents == 0) return 0.0;
  if (documents <= options.val_documents) {
    return absl::InvalidArgumentError(
        absl::StrCat("val_documents: ", options.val_documents, " cannot be held out of ", documents,
                     documents == 1 ? " document" : " documents", "; lower it"));
  }
  const Random keys(options.seed, kKeys);
  std::priority_queue<double> smallest;
  for (int64_t document = 0; document < documents; ++document) {
    smallest.push(keys.Uniform(document));
    if (static_cast<int64_t>(smallest.size()) > options.val_documents) smallest.pop();
  }
  return JustAbove(smallest.top());
}

// A second name of a file while it is being replaced, to bring it back by. A killed process leaves
// that name, which the next writer removes (data/io/output.h).
class Backup {
 public:
  explicit Backup(const std::string& path)
      : path_(path), aside_(absl::StrCat(path, ".tmp-", UniqueName())) {}
  ~Backup() {
    if (!aside_.empty()) unlink(aside_.c_str());
  }
  Backup(const Backup&) = delete;

  absl::Status Make() {
    if (link(path_.c_str(), aside_.c_str()) == 0) return absl::OkStatus();
    aside_.clear();
    was_there_ = errno != ENOENT;
    // Some file systems know no second names: there the new file stays if the next one fails.
    const bool cannot = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK;
    if (!was_there_ || cannot) return absl::OkStatus();
    return ErrnoStatus(errno, "cannot replace", path_);
  }
  void Restore() {
    if (!was_there_) unlink(path_.c_str());
    if (!aside_.empty()) std::rename(aside_.c_str(), path_.c_str());
  }

 private:
  const std::string path_;
  std::string aside_;  // empty: there is none
  bool was_there_ = true;
};

}  // namespace

absl::Status Validate(const SplitOptions& options) {
  if (options.output_dir.empty()) {
    return absl::InvalidArgumentError("output_dir: expected the folder for train.h5 and val.h5");
  }
  if (!(options.val_fraction >= 0 && options.val_fraction < 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "val_fraction: expected at least 0 and less than 1, got ", options.val_fraction));
  }
  if (options.val_documents < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("val_documents: expected at least 0, got ", options.val_documents));
  }
  return absl::OkStatus();
}

SplitStores::SplitStores(const SplitOptions& options, double bound)
    : output_dir_(options.output_dir),
      keys_(options.seed, kKeys),
      bound_(bound),
      key_(keys_.Uniform(0)) {}

absl::StatusOr<std::unique_ptr<SplitStores>> SplitStores::Create(const SplitOptions& options,
                                                                 const Tokenizer& tokenizer,
                                                                 double bound, bool is_chat) {
  const auto create = is_chat ? TokenStoreWriter::CreateForChat : TokenStoreWriter::Create;
  auto stores = absl::WrapUnique(new SplitStores(options, bound));
  ASSIGN_OR_RETURN(stores->train_, create(stores->train_path(), tokenizer));
  ASSIGN_OR_RETURN(stores->val_, create(stores->val_path(), tokenizer));
  return stores;
}

std::string SplitStores::train_path() const { return absl::StrCat(output_dir_, "/train.h5"); }
std::string SplitStores::val_path() const { return absl::StrCat(output_dir_, "/val.h5"); }

absl::Status SplitStores::Append(absl::Span<const int32_t> tokens) {
  return current().Append(tokens);
}

absl::Status SplitStores::Append(absl::Span<const int32_t> tokens,
                                 absl::Span<const uint8_t> learnt) {
  return current().Append(tokens, learnt);
}

absl::Status SplitStores::EndDocument(int32_t source) {
  RETURN_IF_ERROR(current().EndDocument(source));
  smallest_key_ = std::min(smallest_key_, key_);
  largest_key_ = std::max(largest_key_, key_);
  key_ = keys_.Uniform(++documents_);
  return absl::OkStatus();
}

bool SplitStores::FindBetterBound(double* bound) const {
  if (documents_ > 0 && train_->num_documents() == 0) {
    *bound = documents_ == 1 ? 0 : largest_key_;
    return true;
  }
  if (documents_ > 1 && val_->num_documents() == 0) {
    *bound = JustAbove(smallest_key_);
    return true;
  }
  return false;
}

absl::Status SplitStores::Complete(const std::vector<std::string>& source_files,
                                   const std::string& preparation) {
  RETURN_IF_ERROR(train_->Complete(source_files, preparation));
  return has_val() ? val_->Complete(source_files, preparation) : absl::OkStatus();
}

absl::Status SplitStores::Commit() {
  Backup old_train(train_path()), old_val(val_path());
  RETURN_IF_ERROR(old_train.Make());
  RETURN_IF_ERROR(old_val.Make());
  absl::Status status = has_val() ? val_->Commit() : absl::OkStatus();
  if (status.ok()) status = train_->Commit();
  if (status.ok() && !has_val() && unlink(val_path().c_str()) != 0 && errno != ENOENT) {
    status = ErrnoStatus(errno, "cannot remove the old", val_path());
  }
  if (!status.ok()) {
    old_val.Restore();
    old_train.Restore();
  }
  return status;
}

absl::StatusOr<SplitResult> SplitStores::CommitPrepared(
    const std::vector<std::string>& source_files, const std::string& preparation,
    const std::vector<ReadFileInfo>& read) {
  RETURN_IF_ERROR(Complete(source_files, preparation));
  RETURN_IF_ERROR(WritePrepared(output_dir_, preparation, read));
  RETURN_IF_ERROR(Commit());
  return SplitResult{.train_path = train_path(),
                     .val_path = has_val() ? val_path() : "",
                     .train_documents = train_->num_documents(),
                     .val_documents = val_->num_documents(),
                     .train_tokens = train_->num_tokens(),
                     .val_tokens = val_->num_tokens()};
}

std::string SplitResult::StoresText(const std::string& why_one) const {
  const std::string text =
      absl::StrFormat("%s: %d documents, %d tokens\n", train_path, train_documents, train_tokens);
  if (val_path.empty()) {
    return absl::StrCat(text, "no held-out split", train_documents == 1 ? why_one : "", "\n");
  }
  return absl::StrFormat("%s%s: %d documents, %d tokens\n", text, val_path, val_documents,
                         val_tokens);
}

absl::StatusOr<std::unique_ptr<SplitStores>> Split(const SplitOptions& options,
                                                   const Tokenizer& tokenizer, SplitInput* input) {
  RETURN_IF_ERROR(Validate(options));
  double bound = options.val_fraction;
  if (options.val_documents > 0) {
    if (!input->can_be_read_again()) return ReadOnce();
    ASSIGN_OR_RETURN(const int64_t documents, input->CountDocuments());
    ASSIGN_OR_RETURN(bound, BoundForCount(options, documents));
  }
  RETURN_IF_ERROR(MakeFolders(options.output_dir));
  ASSIGN_OR_RETURN(std::unique_ptr<SplitStores> stores,
                   SplitStores::Create(options, tokenizer, bound, input->is_chat()));
  RETURN_IF_ERROR(input->Read(stores.get()));
  // Only few documents leave a split empty, so a second pass costs little.
  if (bound > 0 && stores->FindBetterBound(&bound)) {
    if (!input->can_be_read_again()) return ReadOnce();
    stores = nullptr;  // frees the temporary names
    ASSIGN_OR_RETURN(stores, SplitStores::Create(options, tokenizer, bound, input->is_chat()));
    RETURN_IF_ERROR(input->Read(stores.get()));
  }
  return stores;
}

}  // namespace wyvern
