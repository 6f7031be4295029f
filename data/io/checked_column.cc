#include "data/io/checked_column.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {

static_assert(std::endian::native == std::endian::little, "checksums are of little-endian bytes");

absl::StatusOr<CheckedColumnWriter> CheckedColumnWriter::Create(Hdf5File* file,
                                                                const std::string& name,
                                                                Hdf5Type type, int64_t block,
                                                                int64_t chunk) {
  RETURN_IF_ERROR(file->CreateGrowing(name, type, chunk));
  return CheckedColumnWriter(file, name, type, block);
}

absl::Status CheckedColumnWriter::Append(const void* values, int64_t count) {
  const auto* bytes = static_cast<const uint8_t*>(values);
  size_t num_bytes = count * Hdf5TypeBytes(type_);
  const size_t block_bytes = block_ * Hdf5TypeBytes(type_);
  while (num_bytes > 0) {
    const size_t step = std::min(num_bytes, block_bytes - pending_.size());
    pending_.insert(pending_.end(), bytes, bytes + step);
    bytes += step;
    num_bytes -= step;
    if (pending_.size() == block_bytes) RETURN_IF_ERROR(FlushBlock());
  }
  return absl::OkStatus();
}

absl::Status CheckedColumnWriter::FlushBlock() {
  checksums_.push_back(Crc32(pending_.data(), pending_.size()));
  const int64_t count = static_cast<int64_t>(pending_.size()) / Hdf5TypeBytes(type_);
  RETURN_IF_ERROR(file_->Append(name_, type_, count, pending_.data()));
  pending_.clear();
  return absl::OkStatus();
}

absl::Status CheckedColumnWriter::Finish() {
  if (!pending_.empty()) RETURN_IF_ERROR(FlushBlock());
  return file_->Write<uint32_t>(absl::StrCat(name_, "_crc32"),
                                {static_cast<int64_t>(checksums_.size())}, checksums_.data());
}

absl::StatusOr<std::unique_ptr<CheckedColumn>> CheckedColumn::Open(const Hdf5File* file,
                                                                   const std::string& name,
                                                                   Hdf5Type type, int64_t block) {
  std::unique_ptr<CheckedColumn> column(new CheckedColumn(file, name, type, block));
  ASSIGN_OR_RETURN(const Hdf5Dataset info, file->Describe(name));
  if (info.type != type || info.shape.size() != 1) {
    return absl::DataLossError(absl::StrCat(file->path(), ": the dataset ", name,
                                            " must be one-dimensional ", Hdf5TypeName(type)));
  }
  column->size_ = info.shape[0];
  ASSIGN_OR_RETURN(column->checksums_, file->Read<uint32_t>(absl::StrCat(name, "_crc32")));
  const int64_t expected = (column->size_ + block - 1) / block;
  if (static_cast<int64_t>(column->checksums_.size()) != expected) {
    return absl::DataLossError(absl::StrCat(file->path(), ": the dataset ", name, "_crc32 has ",
                                            column->checksums_.size(), " values, expected ",
                                            expected));
  }
  column->verified_.resize(expected);
  return column;
}

absl::Status CheckedColumn::VerifyBlock(int64_t index) const {
  const int64_t begin = index * block_;
  const int64_t count = std::min(block_, size_ - begin);
  scratch_.resize(count * Hdf5TypeBytes(type_));
  RETURN_IF_ERROR(file_->ReadSlice(name_, type_, begin, count, scratch_.data()));
  const uint32_t found = Crc32(scratch_.data(), scratch_.size());
  if (found != checksums_[index]) {
    return absl::DataLossError(absl::StrFormat(
        "%s: %s: block %d (values %d to %d) is damaged: checksum %08x, expected %08x; "
        "restore the file or prepare it again",
        file_->path(), name_, index, begin, begin + count - 1, found, checksums_[index]));
  }
  verified_[index] = true;
  return absl::OkStatus();
}

absl::Status CheckedColumn::Read(int64_t begin, int64_t end, void* values) const {
  CHECK(0 <= begin && begin <= end && end <= size_, name_, ": [", begin, ", ", end, ") of ", size_);
  if (begin == end) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  for (int64_t index = begin / block_; index <= (end - 1) / block_; ++index) {
    if (!verified_[index]) RETURN_IF_ERROR(VerifyBlock(index));
  }
  return file_->ReadSlice(name_, type_, begin, end - begin, values);
}

absl::Status CheckedColumn::Verify() const {
  std::lock_guard lock(mutex_);
  for (size_t index = 0; index < checksums_.size(); ++index) RETURN_IF_ERROR(VerifyBlock(index));
  return absl::OkStatus();
}

}  // namespace wyvern
