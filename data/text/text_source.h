// Documents from files: text and JSON lines, each plain or compressed, and Parquet, read once, in
// order, in bounded memory.
#ifndef WYVERN_DATA_TEXT_TEXT_SOURCE_H_
#define WYVERN_DATA_TEXT_TEXT_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/chat_template.h"
#include "data/io/file_stamp.h"
#include "data/text/document_reader.h"

namespace wyvern {

struct TextSourceOptions {
  // Files, folders and lists of them (@LIST), in this order; data/text/text_files.h says more. What
  // each holds is seen in its content (data/text/content.h), its compression too.
  std::vector<std::string> paths;
  // JSON: the member of each object that holds the text. Parquet: the column, with dots into
  // nested ones.
  std::string field = kTextField;
  // Text: what stands between two documents ("\n\n": blank lines, also of files with "\r\n");
  // empty: a file is one document. Empty documents are dropped.
  std::string document_separator;
  TextFormat format = TextFormat::kAuto;
  InvalidUtf8 invalid_utf8 = InvalidUtf8::kError;
  // Conversations: where their template is (data/chat/load_chat_template.h), and the turns that are
  // learnt.
  std::string chat_template;
  TrainedTurns train_on = TrainedTurns::kAll;
  // Whether each document is to begin with the tokenizer's bos in a store.
  bool add_bos = false;
  // With either of these, documents come whole whatever is asked for (LongDocuments).
  OnError on_error = OnError::kError;
  Dedup dedup = Dedup::kNone;  // among all documents of `paths`; the first one stays

  bool operator==(const TextSourceOptions&) const = default;
};

// A document, or part of a long one.
struct TextPiece {
  std::string text;      // of a conversation, its JSON object
  int32_t source = 0;    // index into TextSource::files()
  int64_t line = 0;      // of a conversation: its line or row in the file, from 1
  int64_t position = 0;  // where the document begins, as DocumentReader::position
  bool ends_document = true;
};

// A file as it was read: its bytes on disk, before decompression.
struct ReadFileInfo {
  int64_t bytes = 0;
  uint32_t crc32 = 0;
  FileStamp stamp;  // before it was read
};

class TextSource {
 public:
  // Finds the files and looks into each, so that a file that cannot be read is an error before
  // the others are. Errors: a path that does not exist, a folder without a text file, binary data,
  // a newline in a path, a `field` that no file needs, a
  // Parquet file without it.
  static absl::StatusOr<std::unique_ptr<TextSource>> Open(const TextSourceOptions& options,
                                                          LongDocuments long_documents);
  // The same for these parts of files in the place of options.paths. An option that no part needs
  // is neither an error nor a note, as other parts may need it.
  static absl::StatusOr<std::unique_ptr<TextSource>> OpenParts(const TextSourceOptions& options,
                                                               LongDocuments long_documents,
                                                               std::vector<TextPart> parts);
  virtual ~TextSource() = default;

  // Fills `piece` and returns true, or returns false at the end. Errors name file and line: invalid
  // JSON, an object without the field or with another type in it, bytes that are not UTF-8, a
  // document that is too long, damaged compressed data, a file that changed since Open. With
  // OnError::kSkip a damaged record is none of them, where its end is known: not within broken
  // compression, row groups or arrays, nor of a line that is too long. A JSON file without one
  // record that is good is an error all the same, as that says the wrong field or format.
  virtual absl::StatusOr<bool> Next(TextPiece* piece) = 0;

  virtual const std::vector<std::string>& files() const = 0;
  virtual bool can_be_read_again() const = 0;   // false for a pipe
  virtual int64_t file_bytes() const = 0;       // of all files, as they lie on disk
  virtual int64_t file_bytes_read() const = 0;  // of these, read so far

  // Behind the end: of each file, and what the user should know (files passed over, a separator
  // that never occurred, bytes replaced, nulls).
  virtual const std::vector<ReadFileInfo>& read_files() const = 0;
  virtual std::vector<std::string> Notes() const = 0;
  virtual int64_t damaged_records() const = 0;  // left out
  virtual int64_t duplicates() const = 0;       // left out
};

// How the documents of each file are read.
DocumentOptions DocumentOptionsOf(const TextSourceOptions& options, LongDocuments long_documents);

// "\n", "\t", "\\" and the other C escapes in a separator typed on a command line.
absl::StatusOr<std::string> UnescapeSeparator(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_TEXT_SOURCE_H_
