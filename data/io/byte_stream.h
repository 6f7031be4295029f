// The bytes of a file, decompressed if they are compressed: gzip, zstd, bzip2 and xz, any number of
// members behind one another, and zero bytes behind these, as tapes and block copies leave them.
// The first bytes of a file show what it is compressed with; a name that promises another
// compression than none is an error where the content has none.
#ifndef WYVERN_DATA_IO_BYTE_STREAM_H_
#define WYVERN_DATA_IO_BYTE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/io/file_stamp.h"

namespace wyvern {

class ByteStream {
 public:
  static absl::StatusOr<std::unique_ptr<ByteStream>> Open(const std::string& path);
  // The file's own bytes, whatever they are.
  static absl::StatusOr<std::unique_ptr<ByteStream>> OpenRaw(const std::string& path);
  // The file's own bytes [begin, end), which are then all that is described below.
  static absl::StatusOr<std::unique_ptr<ByteStream>> OpenRange(const std::string& path,
                                                               int64_t begin, int64_t end);
  virtual ~ByteStream() = default;

  // Fills up to `size` bytes and returns how many; 0 only at the end. Errors, which name the file:
  // damaged or truncated compressed data, other bytes behind it, a failed read.
  virtual absl::StatusOr<size_t> Read(char* bytes, size_t size) = 0;

  // Describes the file itself, as far as it was read; all of it once Read gave 0.
  virtual int64_t file_bytes_read() const = 0;
  virtual uint32_t file_crc32() const = 0;
  // When it was opened.
  virtual const FileStamp& file_stamp() const = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_BYTE_STREAM_H_
