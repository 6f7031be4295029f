#include "data/store/prepare.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "data/io/progress.h"
#include "data/io/unique_name.h"
#include "data/store/preparation.h"
#include "data/store/token_store.h"
#include "data/tokenizer/tokenize.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Document d is held out if its key, uniform in [0, 1), is below the split's bound.
class HeldOutKeys {
 public:
  explicit HeldOutKeys(uint64_t seed) : random_(seed, "held-out documents") {}
  double operator()(int64_t document) const { return random_.Uniform(document); }

 private:
  Random random_;
};

double JustAbove(double key) { return std::nextafter(key, 2.0); }

absl::Status Validate(const PrepareOptions& options) {
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
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: expected at least 0 (0: every core), got ", options.num_threads));
  }
  return absl::OkStatus();
}

absl::Status ReadOnce() {
  return absl::InvalidArgumentError(
      "a pipe can be read only once, and this split needs to count its documents first; write the "
      "text to a file, or hold out no document");
}

// The text of one pass, to tell that another one read the same.
class PassContent {
 public:
  // The first call keeps the text, the others compare theirs with it.
  absl::Status Check(const TextSource& source) {
    std::vector<std::string> files = source.files();
    if (!is_known_) {
      is_known_ = true;
      files_ = std::move(files);
      read_ = source.read_files();
      return absl::OkStatus();
    }
    if (files != files_) {
      return absl::FailedPreconditionError(
          "the files of the text changed while it was read; prepare again when nothing writes "
          "there");
    }
    for (size_t i = 0; i < files.size(); ++i) {
      const ReadFileInfo& now = source.read_files()[i];
      if (now.bytes == read_[i].bytes && now.crc32 == read_[i].crc32) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          files[i], " changed while it was read; prepare again when nothing writes to it"));
    }
    return absl::OkStatus();
  }

 private:
  bool is_known_ = false;
  std::vector<std::string> files_;
  std::vector<ReadFileInfo> read_;
};

// The bound that holds out exactly `count` documents, from a pass over the source.
absl::StatusOr<double> BoundForCount(const PrepareOptions& options, const Tokenizer& tokenizer,
                                     PassContent* content) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> source,
                   TextSource::Open(options.source, LongDocumentsOf(tokenizer)));
  if (!source->can_be_read_again()) return ReadOnce();
  const HeldOutKeys keys(options.seed);
  std::priority_queue<double> smallest;
  int64_t documents = 0;
  TextPiece piece;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, source->Next(&piece));
    if (!found) break;
    if (!piece.ends_document) continue;
    smallest.push(keys(documents++));
    if (static_cast<int64_t>(smallest.size()) > options.val_documents) smallest.pop();
  }
  RETURN_IF_ERROR(content->Check(*source));
  if (documents <= 1) return 0.0;
  if (documents <= options.val_documents) {
    return absl::InvalidArgumentError(absl::StrCat("val_documents: ", options.val_documents,
                                                   " cannot be held out of ", documents,
                                                   " documents; lower it"));
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

// One pass: every document into one of two stores.
class Splitter {
 public:
  Splitter(const PrepareOptions& options, const Tokenizer& tokenizer, double bound)
      : options_(options), tokenizer_(tokenizer), keys_(options.seed), bound_(bound) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(source_, TextSource::Open(options_.source, LongDocumentsOf(tokenizer_)));
    ASSIGN_OR_RETURN(train_, TokenStoreWriter::Create(TrainPath(options_), tokenizer_));
    ASSIGN_OR_RETURN(val_, TokenStoreWriter::Create(ValPath(options_), tokenizer_));
    ProgressLine progress("prepare", options_.progress);
    const auto start = std::chrono::steady_clock::now();
    return Tokenize(
        source_.get(), tokenizer_, options_.num_threads,
        [&](const TokenizedPiece& piece, int64_t file_bytes_read) {
          RETURN_IF_ERROR(Add(piece));
          if (progress.Due()) {
            const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
            const auto tokens = static_cast<double>(train_->num_tokens() + val_->num_tokens());
            progress.Update(
                static_cast<double>(file_bytes_read), static_cast<double>(source_->file_bytes()),
                absl::StrFormat("%.1fM tokens, %.1f MB/s, %.2fM tokens/s", tokens / 1e6,
                                static_cast<double>(text_bytes_) / 1e6 / elapsed.count(),
                                tokens / 1e6 / elapsed.count()));
          }
          return absl::OkStatus();
        });
  }

  static std::string TrainPath(const PrepareOptions& options) {
    return absl::StrCat(options.output_dir, "/train.h5");
  }
  static std::string ValPath(const PrepareOptions& options) {
    return absl::StrCat(options.output_dir, "/val.h5");
  }

  // If a split is empty that should not be: the bound that moves one document there.
  bool FindBetterBound(double* bound) const {
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

  const TextSource& source() const { return *source_; }  // read by Run

  absl::Status Commit() {
    if (documents_ == 0) {
      return absl::InvalidArgumentError(absl::StrCat("no text in ",
                                                     absl::StrJoin(options_.source.paths, ", "),
                                                     ": the files are empty or blank"));
    }
    const bool has_val = val_->num_documents() > 0;
    const std::string description = DescribePreparation(options_, tokenizer_, *source_);
    RETURN_IF_ERROR(train_->Complete(source_->files(), description));
    if (has_val) RETURN_IF_ERROR(val_->Complete(source_->files(), description));
    RETURN_IF_ERROR(WritePrepared(options_, description, *source_));
    Backup old_train(TrainPath(options_)), old_val(ValPath(options_));
    RETURN_IF_ERROR(old_train.Make());
    RETURN_IF_ERROR(old_val.Make());
    absl::Status status = has_val ? val_->Commit() : absl::OkStatus();
    if (status.ok()) status = train_->Commit();
    if (status.ok() && !has_val && unlink(ValPath(options_).c_str()) != 0 && errno != ENOENT) {
      status = ErrnoStatus(errno, "cannot remove the old", ValPath(options_));
    }
    if (!status.ok()) {
      old_val.Restore();
      old_train.Restore();
    }
    return status;
  }

  void Fill(PrepareResult* result) const {
    result->train_path = TrainPath(options_);
    if (val_->num_documents() > 0) result->val_path = ValPath(options_);
    result->train_documents = train_->num_documents();
    result->val_documents = val_->num_documents();
    result->train_tokens = train_->num_tokens();
    result->val_tokens = val_->num_tokens();
    result->text_bytes = text_bytes_;
    result->notes = source_->Notes();
    result->has_separator = !options_.source.document_separator.empty();
  }

 private:
  absl::Status Add(const TokenizedPiece& piece) {
    const double key = keys_(documents_);
    TokenStoreWriter& writer = key < bound_ ? *val_ : *train_;
    text_bytes_ += piece.text_bytes;
    RETURN_IF_ERROR(writer.Append(piece.tokens));
    if (!piece.ends_document) return absl::OkStatus();
    if (tokenizer_.eos_id().has_value()) RETURN_IF_ERROR(writer.Append({*tokenizer_.eos_id()}));
    RETURN_IF_ERROR(writer.EndDocument(piece.source));
    ++documents_;
    smallest_key_ = std::min(smallest_key_, key);
    largest_key_ = std::max(largest_key_, key);
    return absl::OkStatus();
  }

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  const HeldOutKeys keys_;
  const double bound_;
  std::unique_ptr<TextSource> source_;
  std::unique_ptr<TokenStoreWriter> train_, val_;
  int64_t documents_ = 0, text_bytes_ = 0;
  double smallest_key_ = 1, largest_key_ = 0;
};

}  // namespace

absl::StatusOr<PrepareResult> PrepareStore(const PrepareOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(options.tokenizer));
  PassContent content;
  double bound = options.val_fraction;
  if (options.val_documents > 0) {
    ASSIGN_OR_RETURN(bound, BoundForCount(options, *tokenizer, &content));
  }
  RETURN_IF_ERROR(MakeFolders(options.output_dir));

  auto splitter = std::make_unique<Splitter>(options, *tokenizer, bound);
  RETURN_IF_ERROR(splitter->Run());
  RETURN_IF_ERROR(content.Check(splitter->source()));
  // Only few documents leave a split empty, so a second pass costs little.
  if (bound > 0 && splitter->FindBetterBound(&bound)) {
    if (!splitter->source().can_be_read_again()) return ReadOnce();
    splitter = nullptr;  // frees the temporary names
    splitter = std::make_unique<Splitter>(options, *tokenizer, bound);
    RETURN_IF_ERROR(splitter->Run());
    RETURN_IF_ERROR(content.Check(splitter->source()));
  }
  RETURN_IF_ERROR(splitter->Commit());

  PrepareResult result;
  splitter->Fill(&result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.megabytes_per_second = static_cast<double>(result.text_bytes) / 1e6 / result.seconds;
  result.tokens_per_second =
      static_cast<double>(result.train_tokens + result.val_tokens) / result.seconds;
  return result;
}

std::string PrepareResult::ToString() const {
  std::string text =
      absl::StrFormat("%s: %d documents, %d tokens\n", train_path, train_documents, train_tokens);
  if (val_path.empty()) {
    absl::StrAppend(&text, "no held-out split");
    if (train_documents == 1) {
      absl::StrAppend(&text, ": the text is one document",
                      has_separator ? "" : "; set document_separator to divide it");
    }
    absl::StrAppend(&text, "\n");
  } else {
    absl::StrAppendFormat(&text, "%s: %d documents, %d tokens\n", val_path, val_documents,
                          val_tokens);
  }
  absl::StrAppendFormat(&text, "%.1f MB of text in %.1f s: %.1f MB/s, %.0f tokens/s\n",
                        static_cast<double>(text_bytes) / 1e6, seconds, megabytes_per_second,
                        tokens_per_second);
  for (const std::string& note : notes) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

}  // namespace wyvern
