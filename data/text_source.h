// Documents from files: plain text and JSONL, each plain or compressed (.gz, .zst), read once, in
// order, in bounded memory.
#ifndef WYVERN_DATA_TEXT_SOURCE_H_
#define WYVERN_DATA_TEXT_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

struct TextSourceOptions {
  // Files and folders, in this order. Of a folder, every file below it that ends in .txt, .md,
  // .jsonl or .ndjson, or one of these followed by .gz or .zst, sorted by path; a file named here
  // directly may end in anything. *.jsonl and *.ndjson are JSONL, all others text.
  std::vector<std::string> paths;
  // JSONL: the member of each line's object that holds the text.
  std::string field = "text";
  // Text: what stands between two documents ("\n\n": blank lines); empty: a file is one document.
  // Empty documents are dropped.
  std::string document_separator;
};

// A document, or part of a long one.
struct TextPiece {
  std::string text;    // at most about 1 MiB of a text file, cut behind white space if it can be
  int32_t source = 0;  // index into TextSource::files()
  bool ends_document = true;
};

class TextSource {
 public:
  // Finds the files. Errors: a path that does not exist, a folder without a text file.
  static absl::StatusOr<std::unique_ptr<TextSource>> Open(const TextSourceOptions& options);
  virtual ~TextSource() = default;

  // Fills `piece` and returns true, or returns false at the end. Errors name file and line: invalid
  // JSON, a line without the field or with another type in it, damaged compressed data.
  virtual absl::StatusOr<bool> Next(TextPiece* piece) = 0;

  virtual const std::vector<std::string>& files() const = 0;
  virtual int64_t file_bytes() const = 0;       // of all files, as they lie on disk
  virtual int64_t file_bytes_read() const = 0;  // of these, read so far
};

// "\n", "\t", "\\" and the other C escapes in a separator typed on a command line.
absl::StatusOr<std::string> UnescapeSeparator(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_SOURCE_H_
