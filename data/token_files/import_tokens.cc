#include "data/token_files/import_tokens.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/file_stamp.h"
#include "data/io/progress.h"
#include "data/store/check_outputs.h"
#include "data/store/made_from.h"
#include "data/store/pass_content.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr size_t kFormatsShown = 10;

nlohmann::json OptionsJson(const ImportTokensOptions& options, const Tokenizer& tokenizer) {
  nlohmann::json json = {
      {"tokens", Name(options.file.format)},
      {"dtype", options.file.dtype.has_value() ? Name(*options.file.dtype) : "auto"},
      {"document_end", options.document_end == DocumentEnd::kEos ? "eos" : "file"},
      {"seed", options.split.seed},
      {"tokenizer", tokenizer.hash()}};
  if (options.split.val_documents > 0) {
    json["val_documents"] = options.split.val_documents;
  } else {
    json["val_fraction"] = options.split.val_fraction;
  }
  return json;
}

// Receives documents in pieces.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  virtual absl::Status Append(absl::Span<const int32_t> tokens) = 0;
  virtual absl::Status EndDocument(int32_t source) = 0;
};

class Counter final : public DocumentSink {
 public:
  absl::Status Append(absl::Span<const int32_t>) override { return absl::OkStatus(); }
  absl::Status EndDocument(int32_t) override {
    ++documents;
    return absl::OkStatus();
  }
  int64_t documents = 0;
};

// Closes each document by eos.
class Closer final : public DocumentSink {
 public:
  Closer(std::optional<int32_t> eos_id, SplitStores* stores) : eos_id_(eos_id), stores_(stores) {}

  absl::Status Append(absl::Span<const int32_t> tokens) override {
    if (!tokens.empty()) last_ = tokens.back();
    return stores_->Append(tokens);
  }
  absl::Status EndDocument(int32_t source) override {
    if (eos_id_.has_value() && last_ != *eos_id_) {
      ++added_eos;
      RETURN_IF_ERROR(stores_->Append({*eos_id_}));
    }
    last_ = -1;
    return stores_->EndDocument(source);
  }
  int64_t added_eos = 0;

 private:
  const std::optional<int32_t> eos_id_;
  SplitStores* const stores_;
  int32_t last_ = -1;
};

// Ends documents at each eos, whatever the pieces say.
class EosSplitter {
 public:
  EosSplitter(int32_t eos_id, DocumentSink* sink) : eos_id_(eos_id), sink_(sink) {}

  absl::Status Add(absl::Span<const int32_t> tokens, int32_t source) {
    while (!tokens.empty()) {
      const auto eos = std::find(tokens.begin(), tokens.end(), eos_id_);
      const size_t size = eos - tokens.begin() + (eos != tokens.end() ? 1 : 0);
      RETURN_IF_ERROR(sink_->Append(tokens.subspan(0, size)));
      is_open_ = eos == tokens.end();
      source_ = source;
      if (!is_open_) RETURN_IF_ERROR(sink_->EndDocument(source));
      tokens.remove_prefix(size);
    }
    return absl::OkStatus();
  }
  absl::Status End() { return is_open_ ? sink_->EndDocument(source_) : absl::OkStatus(); }

 private:
  const int32_t eos_id_;
  DocumentSink* const sink_;
  bool is_open_ = false;
  int32_t source_ = 0;
};

// Tells the files of tokens that were met before, under whatever name.
class SeenFiles {
 public:
  absl::StatusOr<bool> Insert(const TokenFile& file) {
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(file.paths()[0]));
    return ids_.insert({stamp.device, stamp.inode}).second;
  }

 private:
  std::set<std::pair<uint64_t, uint64_t>> ids_;  // device and inode
};

class TokenFiles final : public SplitInput {
 public:
  TokenFiles(const ImportTokensOptions& options, const Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {}

  // Looks into every file before the first one is read.
  absl::Status Check() {
    SeenFiles seen;
    for (const std::string& path : options_.paths) {
      ASSIGN_OR_RETURN(const std::unique_ptr<TokenFile> file, TokenFile::Open(path, options_.file));
      ASSIGN_OR_RETURN(const bool is_new, seen.Insert(*file));
      if (!is_new) {
        ++repeated_files_;
        continue;
      }
      paths_.push_back(path);
      files_.insert(files_.end(), file->paths().begin(), file->paths().end());
      source_files_.push_back(file->paths()[0]);
      total_tokens_ += file->num_tokens();
      formats_.push_back(absl::StrCat(file->paths()[0], ": ", Name(file->format()), ", ",
                                      Name(file->dtype()), ", ", file->num_tokens(), " tokens",
                                      options_.document_end == DocumentEnd::kEos
                                          ? ", documents end at eos"
                                      : file->has_documents() ? ""
                                                              : ", one document"));
    }
    return absl::OkStatus();
  }

  bool can_be_read_again() const override { return true; }

  absl::StatusOr<int64_t> CountDocuments() override {
    Counter counter;
    RETURN_IF_ERROR(Pass(&counter));
    return counter.documents;
  }

  absl::Status Read(SplitStores* stores) override {
    Closer closer(tokenizer_.eos_id(), stores);
    RETURN_IF_ERROR(Pass(&closer));
    added_eos_ = closer.added_eos;
    return absl::OkStatus();
  }

  // One a path, which holds its tokens.
  const std::vector<std::string>& source_files() const { return source_files_; }
  const std::vector<std::string>& formats() const { return formats_; }
  // All files, with indices and the like.
  const std::vector<std::string>& files() const { return files_; }
  const std::vector<ReadFileInfo>& read_files() const { return read_files_; }
  int64_t added_eos() const { return added_eos_; }
  int64_t empty_documents() const { return empty_documents_; }
  int64_t repeated_files() const { return repeated_files_; }

 private:
  absl::Status Pass(DocumentSink* sink) {
    files_.clear();
    read_files_.clear();
    empty_documents_ = 0;
    EosSplitter splitter(tokenizer_.eos_id().value_or(-1), sink);
    ProgressLine progress("import", options_.progress);
    int64_t tokens = 0;
    TokenPiece piece;
    for (size_t i = 0; i < paths_.size(); ++i) {
      const auto source = static_cast<int32_t>(i);
      ASSIGN_OR_RETURN(const std::unique_ptr<TokenFile> file,
                       TokenFile::Open(paths_[i], options_.file));
      while (true) {
        ASSIGN_OR_RETURN(const bool found, file->Next(tokenizer_.vocab_size(), &piece));
        if (!found) break;
        tokens += static_cast<int64_t>(piece.tokens.size());
        if (options_.document_end == DocumentEnd::kEos) {
          RETURN_IF_ERROR(splitter.Add(piece.tokens, source));
        } else {
          RETURN_IF_ERROR(sink->Append(piece.tokens));
          if (piece.ends_document) RETURN_IF_ERROR(sink->EndDocument(source));
        }
        if (progress.Due()) {
          progress.Update(static_cast<double>(tokens), static_cast<double>(total_tokens_),
                          absl::StrFormat("%.1fM tokens", static_cast<double>(tokens) / 1e6));
        }
      }
      empty_documents_ += file->empty_documents();
      files_.insert(files_.end(), file->paths().begin(), file->paths().end());
      read_files_.insert(read_files_.end(), file->read_files().begin(), file->read_files().end());
    }
    RETURN_IF_ERROR(splitter.End());
    return content_.Check(files_, read_files_);
  }

  const ImportTokensOptions& options_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> paths_, source_files_, formats_;  // of each file but the repeated
  std::vector<std::string> files_;
  std::vector<ReadFileInfo> read_files_;
  PassContent content_;
  int64_t total_tokens_ = 0, added_eos_ = 0, empty_documents_ = 0;
  int64_t repeated_files_ = 0;
};

}  // namespace

absl::StatusOr<ImportTokensResult> ImportTokens(const ImportTokensOptions& options,
                                                const Tokenizer& tokenizer) {
  RETURN_IF_ERROR(Validate(options.split));
  if (options.paths.empty()) {
    return absl::InvalidArgumentError("paths: expected files of tokens");
  }
  if (options.document_end == DocumentEnd::kEos && !tokenizer.eos_id().has_value()) {
    return absl::InvalidArgumentError("document_end: eos: the tokenizer has none");
  }
  const auto start = std::chrono::steady_clock::now();
  TokenFiles files(options, tokenizer);
  RETURN_IF_ERROR(files.Check());
  RETURN_IF_ERROR(CheckStoreOutputs(options.split.output_dir, files.files()));
  ASSIGN_OR_RETURN(const std::unique_ptr<SplitStores> stores,
                   Split(options.split, tokenizer, &files));
  if (stores->num_documents() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no token in ", absl::StrJoin(options.paths, ", ")));
  }
  const std::string description =
      DescribeMadeFrom(OptionsJson(options, tokenizer), files.files(), files.read_files());
  ImportTokensResult result;
  ASSIGN_OR_RETURN(static_cast<SplitResult&>(result),
                   stores->CommitPrepared(files.source_files(), description, files.read_files()));
  result.formats = files.formats();
  result.added_eos = files.added_eos();
  result.empty_documents = files.empty_documents();
  result.repeated_files = files.repeated_files();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

absl::Status CheckImported(const ImportTokensOptions& options, const Tokenizer& tokenizer,
                           std::vector<std::string>* notes) {
  const std::string& dir = options.split.output_dir;
  ASSIGN_OR_RETURN(const std::string description,
                   ReadStorePreparation(absl::StrCat(dir, "/train.h5")));
  if (description.empty()) return absl::OkStatus();
  std::vector<std::string> files;
  std::set<std::string> missing;
  SeenFiles seen;
  for (const std::string& path : options.paths) {
    const absl::StatusOr<std::unique_ptr<TokenFile>> file = TokenFile::Open(path, options.file);
    if (absl::IsNotFound(file.status())) {
      missing.insert(path);
      files.push_back(path);
      continue;
    }
    RETURN_IF_ERROR(file.status());
    ASSIGN_OR_RETURN(const bool is_new, seen.Insert(**file));
    if (!is_new) continue;
    files.insert(files.end(), (*file)->paths().begin(), (*file)->paths().end());
  }
  NoteMissing(dir, files, missing, notes);
  return CheckMadeFrom(dir, description, OptionsJson(options, tokenizer), files, missing);
}

std::string ImportTokensResult::ToString() const {
  std::string text;
  for (size_t i = 0; i < std::min(formats.size(), kFormatsShown); ++i) {
    absl::StrAppend(&text, formats[i], "\n");
  }
  if (formats.size() > kFormatsShown) {
    absl::StrAppend(&text, "and ", formats.size() - kFormatsShown, " more files\n");
  }
  absl::StrAppend(&text, StoresText(": the tokens are one document"));
  absl::StrAppendFormat(&text, "%.1f s: %.1fM tokens/s\n", seconds,
                        static_cast<double>(train_tokens + val_tokens) / 1e6 / seconds);
  if (added_eos > 0) {
    absl::StrAppend(&text, "note: ", added_eos, " documents did not end in eos; it was added\n");
  }
  if (repeated_files > 0) {
    absl::StrAppend(&text, "note: ", repeated_files,
                    repeated_files == 1 ? " file is" : " files are",
                    " reached by several names (links, or named twice), and read once\n");
  }
  if (empty_documents > 0) {
    absl::StrAppend(&text, "note: ", empty_documents, " empty documents were left out\n");
  }
  return text;
}

}  // namespace wyvern
