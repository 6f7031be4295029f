#ifdef WYVERN_PARQUET

#include "data/text/parquet_file.h"

#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "data/io/file.h"
#include "data/io/file_descriptor.h"
#include "data/io/file_stamp.h"
#include "data/text/parquet_reader.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kReadBytes = int64_t{1} << 20;
constexpr absl::string_view kFooterAdvice = "; the footer is damaged, fetch the file again";

parquet::ReaderProperties Properties() {
  parquet::ReaderProperties properties(arrow::system_memory_pool());
  properties.enable_buffered_stream();  // not a row group's column at once
  properties.set_buffer_size(kReadBytes);
  properties.set_page_checksum_verification(true);
  return properties;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParquetFile>> ParquetFile::Open(const TextPart& part) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream,
                   part.is_whole() ? ByteStream::OpenRaw(part.path)
                                   : ByteStream::OpenRange(part.path, part.begin, part.end));
  std::unique_ptr<ParquetFile> file(new ParquetFile(part, std::move(stream)));
  RETURN_IF_ERROR(file->OpenFile());
  return file;
}

ParquetFile::ParquetFile(TextPart part, std::unique_ptr<ByteStream> stream)
    : part_(std::move(part)),
      stream_(std::move(stream)),
      skipped_(static_cast<size_t>(kReadBytes), '\0') {}

absl::Status ParquetFile::OpenFile() {
  FileDescriptor descriptor(open(path().c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.get() < 0) return ErrnoStatus(errno, "cannot open", path());
  ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(descriptor.get(), path()));
  if (!IsSameStamp(stamp, stream_->file_stamp())) {
    return absl::FailedPreconditionError(absl::StrCat(path(), " changed while it was opened"));
  }
  RETURN_IF_ERROR(CheckEnd(descriptor.get(), stamp.bytes));
  RETURN_IF_ERROR(GuardParquet(path(), kFooterAdvice, [&] {
    // The descriptor is Arrow's from here on.
    PARQUET_ASSIGN_OR_THROW(auto input, arrow::io::ReadableFile::Open(descriptor.Release(),
                                                                      Properties().memory_pool()));
    reader_ = parquet::ParquetFileReader::Open(std::move(input), Properties());
    metadata_ = reader_->metadata();
  }));
  RETURN_IF_ERROR(CheckRows());
  return FindGroups();
}

// Arrow's own message for a file that was cut off says less.
absl::Status ParquetFile::CheckEnd(int descriptor, int64_t bytes) const {
  std::array<char, kParquetMagic.size()> end = {};
  const ssize_t got = pread(descriptor, end.data(), end.size(),
                            std::max<int64_t>(0, bytes - static_cast<int64_t>(end.size())));
  if (got < 0) return ErrnoStatus(errno, "cannot read", path());
  const absl::string_view magic(end.data(), end.size());
  if (magic == kParquetMagic) return absl::OkStatus();
  if (magic == kEncryptedParquetMagic) return EncryptedParquet(path());
  return absl::DataLossError(absl::StrCat(
      path(),
      ": this begins as a Parquet file and has no footer, so its end is missing; fetch "
      "the file again"));
}

absl::Status ParquetFile::CheckRows() const {
  uint64_t group_rows = 0;  // which wraps around on numbers that cannot be
  RETURN_IF_ERROR(GuardParquet(path(), kFooterAdvice, [&] {
    for (int i = 0; i < metadata_->num_row_groups(); ++i) {
      group_rows += static_cast<uint64_t>(metadata_->RowGroup(i)->num_rows());
    }
  }));
  if (group_rows == static_cast<uint64_t>(metadata_->num_rows())) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path(), ": it counts ", metadata_->num_rows(),
                                          " rows, its row groups have ", group_rows,
                                          kFooterAdvice));
}

absl::Status ParquetFile::FindGroups() {
  end_group_ = metadata_->num_row_groups();
  if (part_.is_whole()) return absl::OkStatus();
  const std::vector<int64_t> cuts = CutsOf(*metadata_, stream_->file_stamp().bytes);
  const auto group_at = [&](int64_t byte) {
    const auto cut = std::find(cuts.begin(), cuts.end(), byte);
    return cut == cuts.end() ? -1 : static_cast<int>(cut - cuts.begin()) + 1;
  };
  group_ = part_.begin == 0 ? 0 : group_at(part_.begin);
  if (part_.end != stream_->file_stamp().bytes) end_group_ = group_at(part_.end);
  if (group_ < 0 || end_group_ < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path(),
                     ": no row group begins where this part of it does or ends, so the "
                     "file is another one than when it was divided"));
  }
  for (int i = 0; i < group_; ++i) first_row_ += metadata_->RowGroup(i)->num_rows();
  return absl::OkStatus();
}

absl::StatusOr<bool> ParquetFile::NextGroup() {
  if (group_ == end_group_) {
    RETURN_IF_ERROR(SumUpAll());
    return false;
  }
  ++group_;
  return true;
}

absl::Status ParquetFile::SumUpTo(const std::vector<int>& columns) {
  const int64_t limit = stream_->file_stamp().bytes;
  int64_t offset = 0;
  RETURN_IF_ERROR(Guard([&] {
    const auto group = metadata_->RowGroup(group_ - 1);
    for (const int column : columns) {
      const auto chunk = group->ColumnChunk(column);
      const int64_t begin = chunk->data_page_offset(), size = chunk->total_compressed_size();
      const bool lies_outside = begin < 0 || size < 0 || begin > limit - size;
      offset = std::max(offset, lies_outside ? limit : begin + size);
    }
  }));
  return SumUpToByte(offset);
}

absl::Status ParquetFile::SumUpAll() { return SumUpToByte(std::numeric_limits<int64_t>::max()); }

absl::Status ParquetFile::SumUpToByte(int64_t offset) {
  while (part_.begin + stream_->file_bytes_read() < offset) {
    ASSIGN_OR_RETURN(const size_t got, stream_->Read(skipped_.data(), skipped_.size()));
    if (got == 0) break;
  }
  return absl::OkStatus();
}

std::string ParquetFile::GroupName() const {
  return absl::StrCat(path(), ": row group ", group_, " of ", metadata_->num_row_groups());
}

absl::Status ParquetFile::Damaged(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat(GroupName(), ": ", what, kGroupAdvice));
}

std::vector<int64_t> CutsOf(const parquet::FileMetaData& metadata, int64_t file_bytes) {
  std::vector<int64_t> cuts;
  int64_t end = 0;  // of the row group before
  for (int i = 0; i < metadata.num_row_groups(); ++i) {
    const auto group = metadata.RowGroup(i);
    int64_t begin = file_bytes, group_end = 0;
    for (int c = 0; c < group->num_columns(); ++c) {
      const auto chunk = group->ColumnChunk(c);
      int64_t first = chunk->data_page_offset();
      if (chunk->has_dictionary_page() && chunk->dictionary_page_offset() > 0) {
        first = std::min(first, chunk->dictionary_page_offset());
      }
      const int64_t size = chunk->total_compressed_size();
      if (first < 0 || size < 0 || first > file_bytes - size) return {};
      begin = std::min(begin, first);
      group_end = std::max(group_end, first + size);
    }
    if (begin < end || begin >= file_bytes) return {};
    end = group_end;
    if (i > 0) cuts.push_back(begin);
  }
  return cuts;
}

}  // namespace wyvern

#endif  // WYVERN_PARQUET
