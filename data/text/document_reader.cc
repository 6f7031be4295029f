#include "data/text/document_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/read_buffer.h"
#include "data/io/utf8.h"
#include "data/text/binary_kind.h"
#include "data/text/parquet_reader.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Whether so much of the head is not UTF-8 that it is another encoding: replacing its errors would
// leave nothing of the text.
bool IsOtherEncoding(absl::string_view head) {
  std::string text(head.data(), head.size());
  const int64_t faults = ReplaceUtf8Faults(&text);
  return faults > 16 && faults > static_cast<int64_t>(head.size()) / 4;
}

// A name of Parquet is an error where the content is none, as that of text would be read by lines.
absl::Status CheckParquetName(const std::string& path, absl::string_view head) {
  if (!IsParquetName(path) || absl::StartsWith(head, kParquetMagic)) return absl::OkStatus();
  if (absl::StartsWith(head, kEncryptedParquetMagic)) return EncryptedParquet(path);
  const std::string binary = BinaryKind(head);
  return absl::DataLossError(absl::StrCat(
      path, ": the name says Parquet, but the content is not; ",
      !binary.empty() ? binary : "fetch the file again, or rename it if it holds text"));
}

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquet(const std::string& path,
                                                            const FileStamp& stamp,
                                                            const DocumentOptions& options) {
  if (!stamp.is_regular) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": this is a Parquet file in a pipe, and such a file is read from its end; write it "
        "to a disk first"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> raw, ByteStream::OpenRaw(path));
  std::string head(kParquetMagic.size(), '\0');
  ASSIGN_OR_RETURN(const size_t got, raw->Read(head.data(), head.size()));
  if (got < head.size() || head != kParquetMagic) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": this is a Parquet file that is compressed once more; decompress it first"));
  }
  return OpenParquetReader({path}, options);
}

}  // namespace

absl::Status DocumentReader::LeaveOut(const absl::Status& error) {
  if (on_error_ == OnError::kError) return error;
  if (first_errors_.size() < kErrorsKept) first_errors_.emplace_back(error.message());
  ++left_out_;
  return absl::OkStatus();
}

bool IsBlank(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); });
}

absl::Status Utf8FaultIn(const std::string& path, const ReadBuffer& buffer, size_t offset) {
  const ReadBuffer::Place place = buffer.PlaceOf(offset);
  return Utf8Fault(absl::StrFormat("%s:%d:%d: byte %d", path, place.line, place.column, place.byte),
                   buffer.text()[offset]);
}

absl::Status Utf8Fault(const std::string& where, char byte) {
  if (byte == '\0') {
    return absl::InvalidArgumentError(absl::StrCat(
        where, " is zero, which no text holds: this is binary data, or text that was damaged"));
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s (0x%02X) is not UTF-8; convert the text (iconv -f LATIN1 -t UTF-8, say), or set "
      "invalid_utf8 to 'replace' to put U+FFFD there",
      where, static_cast<unsigned char>(byte)));
}

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Open(
    const std::string& path, const DocumentOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream, ByteStream::Open(path));
  ReadBuffer buffer(std::move(stream));
  while (!buffer.at_end() && buffer.text().size() < kHeadBytes) RETURN_IF_ERROR(buffer.Fill());
  RETURN_IF_ERROR(CheckParquetName(path, buffer.text()));
  const bool may_be_parquet =
      options.format == TextFormat::kAuto || options.format == TextFormat::kChat;
  if (absl::StartsWith(buffer.text(), kParquetMagic) && may_be_parquet) {
    return OpenParquet(path, buffer.stream().file_stamp(), options);
  }
  if (absl::StartsWith(buffer.text(), kUtf8Bom)) buffer.Consume(kUtf8Bom.size());
  const absl::string_view head = buffer.text().substr(0, kHeadBytes);
  const bool is_whole = buffer.at_end() && head.size() == buffer.text().size();
  ASSIGN_OR_RETURN(const ContentKind kind, KindOfContent(path, head, is_whole, options.format));
  if (options.invalid_utf8 == InvalidUtf8::kReplace && IsOtherEncoding(head)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": most of this is not UTF-8, so it is binary data or text in another encoding; "
        "convert it instead of replacing what is not UTF-8"));
  }
  if (kind == ContentKind::kText) return MakeTextReader(path, std::move(buffer), options);
  return MakeJsonReader(path, std::move(buffer), options, kind);
}

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::OpenPart(
    const TextPart& part, const DocumentOptions& options) {
  if (part.is_whole()) return Open(part.path, options);
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> raw, ByteStream::OpenRaw(part.path));
  std::string head(kParquetMagic.size(), '\0');
  ASSIGN_OR_RETURN(const size_t got, raw->Read(head.data(), head.size()));
  if (got == head.size() && head == kParquetMagic) return OpenParquetReader(part, options);
  // Only JSON lines are cut beside Parquet.
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream,
                   ByteStream::OpenRange(part.path, part.begin, part.end));
  ReadBuffer buffer(std::move(stream), part.begin);
  RETURN_IF_ERROR(buffer.Fill());
  if (part.begin == 0 && absl::StartsWith(buffer.text(), kUtf8Bom)) buffer.Consume(kUtf8Bom.size());
  const std::string name =
      part.begin == 0 ? part.path
                      : absl::StrCat(part.path, " (lines from byte ", part.begin + 1, " on)");
  return MakeJsonReader(name, std::move(buffer), options, ContentKind::kJsonLines);
}

}  // namespace wyvern
