#include "data/text/file_cuts.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "data/io/byte_stream.h"
#include "data/io/codec.h"
#include "data/text/parquet_reader.h"
#include "kernels/runtime/status.h"

namespace wyvern {

absl::StatusOr<FileCuts> FileCuts::Of(const std::string& path, const DocumentOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<DocumentReader> reader,
                   DocumentReader::Open(path, options));
  FileCuts cuts(path, reader->stream().file_stamp().bytes);
  if (reader->kind() == ContentKind::kParquet) {
    ASSIGN_OR_RETURN(cuts.cuts_, ParquetCuts(path));
  }
  if (reader->kind() == ContentKind::kJsonLines) {
    ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> raw, ByteStream::OpenRaw(path));
    std::string head(kMagicBytes, '\0');
    ASSIGN_OR_RETURN(const size_t got, raw->Read(head.data(), head.size()));
    head.resize(got);
    cuts.has_lines_ = CompressionOf(head).empty();
  }
  return cuts;
}

absl::StatusOr<int64_t> FileCuts::At(int64_t offset) const {
  if (offset >= bytes_) return bytes_;
  if (!has_lines_) {
    const auto cut = std::lower_bound(cuts_.begin(), cuts_.end(), offset);
    return cut == cuts_.end() ? bytes_ : *cut;
  }
  // A line begins behind a newline, which may be the byte before.
  int64_t begin = offset - 1;
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream,
                   ByteStream::OpenRange(path_, begin, bytes_));
  std::string buffer(size_t{1} << 16, '\0');
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, stream->Read(buffer.data(), buffer.size()));
    if (got == 0) return bytes_;
    const void* newline = std::memchr(buffer.data(), '\n', got);
    if (newline != nullptr) {
      return begin + (static_cast<const char*>(newline) - buffer.data()) + 1;
    }
    begin += static_cast<int64_t>(got);
  }
}

}  // namespace wyvern
