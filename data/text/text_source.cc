#include "data/text/text_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/text/seen_texts.h"
#include "data/text/text_files.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr size_t kNamesShown = 5;

// "a, b and 7 more".
std::string Names(const std::vector<std::string>& files) {
  const size_t shown = std::min(files.size(), kNamesShown);
  std::string text = absl::StrJoin(files.begin(), files.begin() + shown, ", ");
  if (files.size() > shown) absl::StrAppend(&text, " and ", files.size() - shown, " more");
  return text;
}

class FilesSource final : public TextSource {
 public:
  FilesSource(const TextSourceOptions& options, LongDocuments long_documents,
              std::vector<TextPart> parts, std::vector<std::string> notes, bool is_all)
      : options_(DocumentOptionsOf(options, long_documents)),
        is_all_(is_all),
        is_exact_dedup_(options.dedup == Dedup::kExact),
        parts_(std::move(parts)),
        notes_(std::move(notes)) {
    for (const TextPart& part : parts_) files_.push_back(part.path);
  }

  // Looks into every file but pipes, which can be read once only.
  absl::Status LookInto() {
    bool may_have_json = false;
    for (const TextPart& part : parts_) {
      const std::string& file = part.path;
      if (file.find('\n') != std::string::npos) {  // the store holds a name a line
        return absl::InvalidArgumentError(absl::StrCat("the file \"", absl::CEscape(file),
                                                       "\" has a newline in its path; rename it"));
      }
      ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(file));
      stamps_.push_back(stamp);
      if (!stamp.is_regular) {
        may_have_json = true;
        can_be_read_again_ = false;
        continue;
      }
      file_bytes_ += part.is_whole() ? stamp.bytes : part.end - part.begin;
      ASSIGN_OR_RETURN(const std::unique_ptr<DocumentReader> reader,
                       DocumentReader::OpenPart(part, options_));
      may_have_json |= reader->kind() != ContentKind::kText;
    }
    if (!is_all_ || may_have_json || options_.field == TextSourceOptions().field)
      return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "field: '", options_.field, "' has no effect, as there is neither JSON nor Parquet in ",
        Names(files_), "; leave it out, or set the format to 'json'"));
  }

  absl::StatusOr<bool> Next(TextPiece* piece) override {
    while (true) {
      if (reader_ == nullptr) {
        if (read_files_.size() == files_.size()) return false;
        ASSIGN_OR_RETURN(reader_, DocumentReader::OpenPart(parts_[read_files_.size()], options_));
        RETURN_IF_ERROR(CheckUnchanged());
      }
      const absl::StatusOr<bool> found = reader_->Next(&piece->text, &piece->ends_document);
      if (found.ok() && *found) {
        if (is_exact_dedup_ && !seen_.Insert(piece->text)) {
          ++duplicates_;
          continue;
        }
        piece->source = static_cast<int32_t>(read_files_.size());
        piece->line = reader_->line();
        piece->position = reader_->position();
        return true;
      }
      RETURN_IF_ERROR(CheckUnchanged());  // which explains other errors, too
      RETURN_IF_ERROR(found.status());
      FinishFile();
    }
  }
  const std::vector<std::string>& files() const override { return files_; }
  bool can_be_read_again() const override { return can_be_read_again_; }
  int64_t file_bytes() const override { return file_bytes_; }
  int64_t file_bytes_read() const override {
    return finished_bytes_ + (reader_ == nullptr ? 0 : reader_->stream().file_bytes_read());
  }
  const std::vector<ReadFileInfo>& read_files() const override { return read_files_; }

  int64_t damaged_records() const override { return damaged_records_; }
  int64_t duplicates() const override { return duplicates_; }

  std::vector<std::string> Notes() const override {
    std::vector<std::string> notes = notes_;
    if (is_all_ && !text_files_.empty() && text_files_.size() < files_.size()) {
      const size_t others = files_.size() - text_files_.size();
      const char* kinds = !has_parquet_ ? " JSON, "
                          : has_json_   ? " JSON or Parquet, "
                                        : " Parquet, ";
      notes.push_back(absl::StrCat(others, others == 1 ? " file is" : " files are", kinds,
                                   text_files_.size(), " plain text: ", Names(text_files_)));
    }
    if (nulls_ > 0) {
      notes.push_back(absl::StrCat(nulls_, nulls_ == 1 ? " row has" : " rows have", " a null as '",
                                   options_.field, "' and gave no document"));
    }
    if (is_all_ && !options_.document_separator.empty() && separators_ == 0) {
      notes.push_back(
          absl::StrCat("the document_separator \"", absl::CEscape(options_.document_separator),
                       text_files_.empty() ? "\" has no effect on JSON and Parquet: "
                                           : "\" never occurs, so every file is one document: ",
                       Names(text_files_.empty() ? files_ : text_files_)));
    }
    if (damaged_records_ > 0) {
      notes.push_back(absl::StrCat(
          damaged_records_, damaged_records_ == 1 ? " damaged record was" : " damaged records were",
          " left out: ", absl::StrJoin(first_errors_, "\n  "),
          damaged_records_ > static_cast<int64_t>(first_errors_.size()) ? "\n  and more" : ""));
    }
    if (duplicates_ > 0) {
      notes.push_back(absl::StrCat(duplicates_,
                                   duplicates_ == 1 ? " document was" : " documents were",
                                   " left out, equal to an earlier one"));
    }
    if (replaced_faults_ > 0) {
      notes.push_back(absl::StrCat(replaced_faults_, replaced_faults_ == 1 ? " error" : " errors",
                                   " of UTF-8 became U+FFFD, in ", Names(mended_files_)));
    }
    return notes;
  }

 private:
  // Whether the file was the same when it was looked into, opened and now. A pipe has no such
  // state.
  absl::Status CheckUnchanged() const {
    const std::string& file = files_[read_files_.size()];
    const FileStamp& before = stamps_[read_files_.size()];
    if (!before.is_regular) return absl::OkStatus();
    const absl::StatusOr<FileStamp> now = StampOf(file);
    if (now.ok() && IsSameStamp(*now, before) &&
        IsSameStamp(reader_->stream().file_stamp(), before)) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat(file, " changed while it was read; prepare again when nothing writes to it"));
  }

  void FinishFile() {
    const ByteStream& stream = reader_->stream();
    const std::string& file = files_[read_files_.size()];
    finished_bytes_ += stream.file_bytes_read();
    read_files_.push_back({stream.file_bytes_read(), stream.file_crc32(), stream.file_stamp()});
    if (reader_->kind() == ContentKind::kText) text_files_.push_back(file);
    if (reader_->replaced_faults() > 0) mended_files_.push_back(file);
    has_parquet_ |= reader_->kind() == ContentKind::kParquet;
    has_json_ |=
        reader_->kind() == ContentKind::kJsonLines || reader_->kind() == ContentKind::kJsonArray;
    separators_ += reader_->separators();
    nulls_ += reader_->nulls();
    damaged_records_ += reader_->left_out();
    for (const std::string& error : reader_->first_errors()) {
      if (first_errors_.size() < DocumentReader::kErrorsKept) first_errors_.push_back(error);
    }
    replaced_faults_ += reader_->replaced_faults();
    reader_ = nullptr;
  }

  const DocumentOptions options_;
  const bool is_all_;  // of the text, not parts of it
  const bool is_exact_dedup_;
  const std::vector<TextPart> parts_;
  std::vector<std::string> files_;  // of the parts
  const std::vector<std::string> notes_;
  std::vector<FileStamp> stamps_;  // of the files, when they were looked into
  int64_t file_bytes_ = 0;
  bool can_be_read_again_ = true;
  std::unique_ptr<DocumentReader> reader_;  // of the file after those read
  std::vector<ReadFileInfo> read_files_;
  std::vector<std::string> text_files_, mended_files_;  // of the files read
  bool has_json_ = false, has_parquet_ = false;         // among the files read
  int64_t finished_bytes_ = 0, separators_ = 0, nulls_ = 0, replaced_faults_ = 0;
  int64_t damaged_records_ = 0, duplicates_ = 0;
  std::vector<std::string> first_errors_;  // of damaged records
  SeenTexts seen_;
};

}  // namespace

DocumentOptions DocumentOptionsOf(const TextSourceOptions& options, LongDocuments long_documents) {
  // A document that may be left out is not handed on in parts.
  const bool may_leave_out = options.on_error == OnError::kSkip || options.dedup != Dedup::kNone;
  return {.field = options.field,
          .document_separator = options.document_separator,
          .format = options.format,
          .invalid_utf8 = options.invalid_utf8,
          .on_error = options.on_error,
          .long_documents = may_leave_out ? LongDocuments::kWhole : long_documents};
}

absl::StatusOr<std::unique_ptr<TextSource>> TextSource::Open(const TextSourceOptions& options,
                                                             LongDocuments long_documents) {
  if (options.paths.empty()) {
    return absl::InvalidArgumentError("no input: expected the path of a file or a folder");
  }
  if (options.field.empty()) {
    return absl::InvalidArgumentError("field: expected the name of the member with the text");
  }
  ASSIGN_OR_RETURN(TextFiles found, FindTextFiles(options.paths, options.field));
  std::vector<TextPart> parts;
  for (std::string& path : found.paths) parts.push_back({std::move(path)});
  auto source = std::make_unique<FilesSource>(options, long_documents, std::move(parts),
                                              std::move(found.notes), /*is_all=*/true);
  RETURN_IF_ERROR(source->LookInto());
  return source;
}

absl::StatusOr<std::unique_ptr<TextSource>> TextSource::OpenParts(const TextSourceOptions& options,
                                                                  LongDocuments long_documents,
                                                                  std::vector<TextPart> parts) {
  auto source = std::make_unique<FilesSource>(options, long_documents, std::move(parts),
                                              std::vector<std::string>(), /*is_all=*/false);
  RETURN_IF_ERROR(source->LookInto());
  return source;
}

absl::StatusOr<std::string> UnescapeSeparator(absl::string_view text) {
  std::string separator, error;
  if (!absl::CUnescape(text, &separator, &error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("document separator '", text, "': ", error, "; write \\\\ for a backslash"));
  }
  return separator;
}

}  // namespace wyvern
