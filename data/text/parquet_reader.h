// Documents of a Parquet file: a column of text, through Apache Arrow (cmake/Parquet.cmake).
#ifndef WYVERN_DATA_TEXT_PARQUET_READER_H_
#define WYVERN_DATA_TEXT_PARQUET_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/text/document_reader.h"

namespace wyvern {

// The four bytes with which a Parquet file begins, and ends.
inline constexpr absl::string_view kParquetMagic = "PAR1";
inline constexpr absl::string_view kEncryptedParquetMagic = "PARE";

// The error for a file whose footer is encrypted.
absl::Status EncryptedParquet(const std::string& path);

// Whether this build has Apache Arrow.
bool CanReadParquet();

// Each row's value of the column `options.field` is a document; dots lead into nested columns. The
// column holds strings or binary data that are UTF-8, in any encoding and compression that Arrow
// knows. A null, as an empty text, is no document. Row groups come one after the other. Of a column
// no more is in memory than a page with its dictionary.
//
// The file's CRC-32 takes its own pass over all bytes, other columns too. It runs ahead of the
// reader by a row group, whose bytes then come from the page cache.
//
// Errors: a pipe, which cannot be read from its end; a footer or page that is damaged (naming the
// row group); no such column (naming those that there are), or one of another type; a value that is
// not UTF-8 (naming the row); a build without Arrow.
//
// A part begins and ends at ParquetCuts or an end of the file; FailedPrecondition if it does not.
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquetReader(const TextPart& part,
                                                                  const DocumentOptions& options);

// The bytes at which row groups begin, but the first one, in rising order; none for a file whose
// row groups do not lie one behind the other. Errors: as OpenParquetReader, but for its column.
absl::StatusOr<std::vector<int64_t>> ParquetCuts(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_PARQUET_READER_H_
