// A one-dimensional dataset `name` with a CRC-32 for every block of `block` values in the dataset
// `name`_crc32 (uint32), taken over the block's little-endian bytes.
#ifndef WYVERN_DATA_IO_CHECKED_COLUMN_H_
#define WYVERN_DATA_IO_CHECKED_COLUMN_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/hdf5_file.h"

namespace wyvern {

class CheckedColumnWriter {
 public:
  // Creates the dataset, which grows in steps of `chunk` values; `chunk` divides `block`. `file`
  // must outlive the writer.
  static absl::StatusOr<CheckedColumnWriter> Create(Hdf5File* file, const std::string& name,
                                                    Hdf5Type type, int64_t block, int64_t chunk);

  absl::Status Append(const void* values, int64_t count);
  // Writes the last block and the checksums; the last call.
  absl::Status Finish();

 private:
  CheckedColumnWriter(Hdf5File* file, std::string name, Hdf5Type type, int64_t block)
      : file_(file), name_(std::move(name)), type_(type), block_(block) {}
  absl::Status FlushBlock();

  Hdf5File* file_;
  std::string name_;
  Hdf5Type type_;
  int64_t block_;
  std::vector<uint8_t> pending_;  // less than one block
  std::vector<uint32_t> checksums_;
};

class CheckedColumn {
 public:
  // Loads the checksums. `file` must outlive the column. Errors: missing datasets, another type,
  // a number of checksums that does not fit the number of values.
  static absl::StatusOr<std::unique_ptr<CheckedColumn>> Open(const Hdf5File* file,
                                                             const std::string& name, Hdf5Type type,
                                                             int64_t block);

  int64_t size() const { return size_; }
  const std::vector<uint32_t>& checksums() const { return checksums_; }

  // Values [begin, end). The first read that touches a block reads all of it and compares its
  // checksum; a damaged one is DataLoss. Any thread may call it.
  absl::Status Read(int64_t begin, int64_t end, void* values) const;
  // Compares every block, those read before too.
  absl::Status Verify() const;

 private:
  CheckedColumn(const Hdf5File* file, std::string name, Hdf5Type type, int64_t block)
      : file_(file), name_(std::move(name)), type_(type), block_(block) {}
  absl::Status VerifyBlock(int64_t index) const;  // mutex_ is held

  const Hdf5File* file_;
  std::string name_;
  Hdf5Type type_;
  int64_t block_;
  int64_t size_ = 0;
  std::vector<uint32_t> checksums_;
  mutable std::mutex mutex_;
  mutable std::vector<bool> verified_;
  mutable std::vector<uint8_t> scratch_;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_CHECKED_COLUMN_H_
