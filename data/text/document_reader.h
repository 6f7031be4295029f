// The documents of one file.
#ifndef WYVERN_DATA_TEXT_DOCUMENT_READER_H_
#define WYVERN_DATA_TEXT_DOCUMENT_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/io/byte_stream.h"
#include "data/text/content.h"
#include "data/text/text_format.h"

namespace wyvern {

// How a document comes that is longer than a piece of 1 MiB.
enum class LongDocuments {
  kWhole,     // at once; beyond kMaxDocumentBytes it is an error
  kInPieces,  // of text files: in pieces cut behind a line, else between two characters
};

// A file, or what lies between two places of it where records begin (data/text/file_cuts.h).
struct TextPart {
  std::string path;
  int64_t begin = 0, end = -1;  // bytes of the file; end -1: all of it

  bool is_whole() const { return end < 0; }
};

struct DocumentOptions {
  std::string field;               // JSON: the member that holds the text; Parquet: the column
  std::string document_separator;  // text: empty: a file is one document
  TextFormat format = TextFormat::kAuto;
  InvalidUtf8 invalid_utf8 = InvalidUtf8::kError;
  OnError on_error = OnError::kError;  // kSkip: only with LongDocuments::kWhole
  LongDocuments long_documents = LongDocuments::kWhole;
};

class DocumentReader {
 public:
  // Decompresses the file and judges its first bytes (data/text/content.h); a UTF-8 byte order mark
  // at its beginning is left out. Errors as of ByteStream::Open, KindOfContent and
  // OpenParquetReader; a name of Parquet (.parquet) where the content is not.
  static absl::StatusOr<std::unique_ptr<DocumentReader>> Open(const std::string& path,
                                                              const DocumentOptions& options);
  // The same for a part, of whose documents none differs from those of the whole file.
  static absl::StatusOr<std::unique_ptr<DocumentReader>> OpenPart(const TextPart& part,
                                                                  const DocumentOptions& options);
  virtual ~DocumentReader() = default;

  // The next document or part of one, as TextSource::Next.
  virtual absl::StatusOr<bool> Next(std::string* text, bool* ends_document) = 0;

  virtual ContentKind kind() const = 0;
  virtual const ByteStream& stream() const = 0;
  // JSON: the line of the file, from 1, of what Next gave last; Parquet's conversations: the row.
  virtual int64_t line() const { return 0; }
  // Where in its file the document begins that Next gave last, whatever part is read. Text and
  // JSON: the decompressed byte; Parquet: the row. Both count from 0.
  virtual int64_t position() const = 0;
  // Met so far: separators of text; nulls in the place of a text, which are no documents.
  virtual int64_t separators() const { return 0; }
  virtual int64_t nulls() const { return 0; }
  int64_t replaced_faults() const { return replaced_faults_; }
  // Damaged records that were left out, and the errors of the first ones.
  int64_t left_out() const { return left_out_; }
  const std::vector<std::string>& first_errors() const { return first_errors_; }

  static constexpr size_t kErrorsKept = 5;

 protected:
  explicit DocumentReader(OnError on_error) : on_error_(on_error) {}
  // With OnError::kSkip, counts the damaged record; else returns its error.
  absl::Status LeaveOut(const absl::Status& error);

  int64_t replaced_faults_ = 0;

 private:
  const OnError on_error_;
  int64_t left_out_ = 0;
  std::vector<std::string> first_errors_;
};

// For DocumentReader::Open alone.
class ReadBuffer;
std::unique_ptr<DocumentReader> MakeTextReader(const std::string& path, ReadBuffer buffer,
                                               const DocumentOptions& options);
std::unique_ptr<DocumentReader> MakeJsonReader(const std::string& path, ReadBuffer buffer,
                                               const DocumentOptions& options, ContentKind kind);

// Whether nothing but space, which is no document.
bool IsBlank(absl::string_view text);

// The error for a byte that violates UTF-8. `where` ends with the byte's number.
absl::Status Utf8Fault(const std::string& where, char byte);
// The same for text()[offset].
absl::Status Utf8FaultIn(const std::string& path, const ReadBuffer& buffer, size_t offset);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_DOCUMENT_READER_H_
