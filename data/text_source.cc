#include "data/text_source.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/document_reader.h"
#include "data/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

absl::string_view WithoutCompression(absl::string_view path) {
  if (!absl::ConsumeSuffix(&path, ".gz")) absl::ConsumeSuffix(&path, ".zst");
  return path;
}

bool IsJsonLines(absl::string_view path) {
  path = WithoutCompression(path);
  return absl::EndsWith(path, ".jsonl") || absl::EndsWith(path, ".ndjson");
}

bool IsText(absl::string_view path) {
  path = WithoutCompression(path);
  return absl::EndsWith(path, ".txt") || absl::EndsWith(path, ".md");
}

absl::Status AppendFolder(const std::string& folder, std::vector<std::string>* files) {
  std::vector<std::string> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    if (!IsJsonLines(path) && !IsText(path)) continue;
    std::error_code broken_link;
    if (entry->is_regular_file(broken_link)) found.push_back(path);
  }
  if (error) return ErrnoStatus(error.value(), "cannot list the folder", folder);
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat(
        folder,
        ": no text in this folder; expected files that end in .txt, .md, .jsonl or "
        ".ndjson, perhaps with .gz or .zst behind; name files of other kinds one by one"));
  }
  std::sort(found.begin(), found.end());
  files->insert(files->end(), found.begin(), found.end());
  return absl::OkStatus();
}

class FilesSource final : public TextSource {
 public:
  FilesSource(TextSourceOptions options, std::vector<std::string> files, int64_t file_bytes)
      : options_(std::move(options)), files_(std::move(files)), file_bytes_(file_bytes) {}

  absl::StatusOr<bool> Next(TextPiece* piece) override {
    while (true) {
      if (reader_ == nullptr) {
        if (next_file_ == files_.size()) return false;
        const std::string& path = files_[next_file_++];
        ASSIGN_OR_RETURN(reader_, IsJsonLines(path) ? OpenJsonLines(path, options_.field)
                                                    : OpenText(path, options_.document_separator));
      }
      ASSIGN_OR_RETURN(const bool found, reader_->Next(&piece->text, &piece->ends_document));
      if (found) {
        piece->source = static_cast<int32_t>(next_file_ - 1);
        return true;
      }
      finished_bytes_ += reader_->file_bytes_read();
      reader_ = nullptr;
    }
  }
  const std::vector<std::string>& files() const override { return files_; }
  int64_t file_bytes() const override { return file_bytes_; }
  int64_t file_bytes_read() const override {
    return finished_bytes_ + (reader_ == nullptr ? 0 : reader_->file_bytes_read());
  }

 private:
  const TextSourceOptions options_;
  const std::vector<std::string> files_;
  const int64_t file_bytes_;
  size_t next_file_ = 0;
  std::unique_ptr<DocumentReader> reader_;
  int64_t finished_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextSource>> TextSource::Open(const TextSourceOptions& options) {
  if (options.paths.empty()) {
    return absl::InvalidArgumentError("no input: expected the path of a file or a folder");
  }
  if (options.field.empty()) {
    return absl::InvalidArgumentError("field: expected the name of the member with the text");
  }
  std::vector<std::string> files;
  for (const std::string& path : options.paths) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) {
      return ErrnoStatus(error ? error.value() : ENOENT, "cannot read the input", path);
    }
    if (fs::is_directory(status)) {
      RETURN_IF_ERROR(AppendFolder(path, &files));
    } else {
      files.push_back(path);
    }
  }
  int64_t file_bytes = 0;
  for (const std::string& file : files) {
    std::error_code error;
    const auto size = fs::file_size(file, error);  // unknown for a pipe
    if (!error) file_bytes += static_cast<int64_t>(size);
  }
  return std::make_unique<FilesSource>(options, std::move(files), file_bytes);
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
