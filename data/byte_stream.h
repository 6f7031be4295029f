// The bytes of a file, decompressed by its name's ending: .gz (any number of members), .zst (any
// number of frames), anything else as it is.
#ifndef WYVERN_DATA_BYTE_STREAM_H_
#define WYVERN_DATA_BYTE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace wyvern {

class ByteStream {
 public:
  static absl::StatusOr<std::unique_ptr<ByteStream>> Open(const std::string& path);
  virtual ~ByteStream() = default;

  // Fills up to `size` bytes and returns how many; 0 only at the end. Errors: damaged or truncated
  // compressed data, a failed read.
  virtual absl::StatusOr<size_t> Read(char* bytes, size_t size) = 0;
  // Bytes of the file itself that were read.
  virtual int64_t file_bytes_read() const = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_BYTE_STREAM_H_
