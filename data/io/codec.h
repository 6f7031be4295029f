// Decompression of one member (gzip), frame (zstd) or stream (bzip2, xz) after the other.
#ifndef WYVERN_DATA_IO_CODEC_H_
#define WYVERN_DATA_IO_CODEC_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// "gzip", "zstd", "bzip2" or "xz" if a member begins like this; empty if none does. kMagicBytes
// decide. A member that is shorter than that, but begins as one, is taken for one.
inline constexpr size_t kMagicBytes = 10;
std::string CompressionOf(absl::string_view head);

// The compression that a file's name ends in (.gz, .gzip, .zst, .zstd, .bz2, .xz, in any case);
// empty for none. The suffix is cut off `name`.
std::string ConsumeCompressionSuffix(absl::string_view* name);

class Codec {
 public:
  // `compression` as CompressionOf says it.
  static std::unique_ptr<Codec> Make(const std::string& compression);
  virtual ~Codec() = default;

  // Before each member.
  virtual absl::Status Begin() = 0;
  // Takes from the front of `in` and of the `size` bytes at `out` what it uses of them. True: the
  // member has ended. Errors say why the data cannot be decoded.
  virtual absl::StatusOr<bool> Decode(absl::string_view* in, char** out, size_t* size) = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_CODEC_H_
