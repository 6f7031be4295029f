// A Parquet file, or row groups of it, through Apache Arrow: opened with checks, and taken row
// group by row group while the sum of all its bytes is taken. Only what reads Parquet includes
// this, in builds that have Arrow.
#ifndef WYVERN_DATA_TEXT_PARQUET_FILE_H_
#define WYVERN_DATA_TEXT_PARQUET_FILE_H_

#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "data/io/byte_stream.h"
#include "data/text/document_reader.h"

namespace wyvern {

// Calls what may throw, as all of Arrow's Parquet does.
template <typename Call>
absl::Status GuardParquet(const std::string& where, absl::string_view advice, const Call& call) {
  try {
    call();
    return absl::OkStatus();
  } catch (const parquet::ParquetException& fault) {
    return absl::DataLossError(absl::StrCat(where, ": ", fault.what(), advice));
  } catch (const std::exception&) {  // of the standard library, on a size that cannot be
    return absl::DataLossError(absl::StrCat(where, ": damaged", advice));
  }
}

class ParquetFile {
 public:
  // Errors: those of OpenParquetReader, but for columns.
  static absl::StatusOr<std::unique_ptr<ParquetFile>> Open(const TextPart& part);

  // Begins the next row group of the part. False at the end.
  absl::StatusOr<bool> NextGroup();

  // Sums up the part's bytes to the end of these columns of the row group, or to the part's end.
  absl::Status SumUpTo(const std::vector<int>& columns);
  absl::Status SumUpAll();

  // An error of the row group.
  std::string GroupName() const;
  absl::Status Damaged(absl::string_view what) const;
  template <typename Call>
  absl::Status Guard(const Call& call) const {
    return GuardParquet(GroupName(), kGroupAdvice, call);
  }

  const std::string& path() const { return part_.path; }
  const parquet::FileMetaData& metadata() const { return *metadata_; }
  int group() const { return group_; }              // from 1; 0: before the first
  int64_t first_row() const { return first_row_; }  // rows of the file before the part
  std::shared_ptr<parquet::RowGroupReader> OpenGroup() const {
    return reader_->RowGroup(group_ - 1);
  }
  // Arrow's reader of the file, for a reader of its own; OpenGroup needs it.
  std::unique_ptr<parquet::ParquetFileReader> TakeReader() { return std::move(reader_); }
  const ByteStream& stream() const { return *stream_; }

 private:
  static constexpr absl::string_view kGroupAdvice =
      "; this row group is damaged, fetch the file again";

  ParquetFile(TextPart part, std::unique_ptr<ByteStream> stream);
  absl::Status OpenFile();
  absl::Status CheckEnd(int descriptor, int64_t bytes) const;
  absl::Status CheckRows() const;
  absl::Status FindGroups();
  absl::Status SumUpToByte(int64_t offset);

  const TextPart part_;
  const std::unique_ptr<ByteStream> stream_;  // of all bytes of the part, for its checksum alone
  std::string skipped_;
  std::unique_ptr<parquet::ParquetFileReader> reader_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  int group_ = 0, end_group_ = 0;  // of the part
  int64_t first_row_ = 0;
};

// Where row groups begin, as ParquetCuts.
std::vector<int64_t> CutsOf(const parquet::FileMetaData& metadata, int64_t file_bytes);

// Each row as a JSON object of the columns that conversations have, by data/chat: structs are
// objects, lists arrays, nulls left out. Errors: no such columns (naming those that there are), a
// column of a type that JSON has not, texts that are not UTF-8 (naming the row), damage.
absl::StatusOr<std::unique_ptr<DocumentReader>> MakeParquetRecordReader(
    std::unique_ptr<ParquetFile> file, const DocumentOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_PARQUET_FILE_H_
