// A stream with what was read of it but not yet used, and where that lies in the file.
#ifndef WYVERN_DATA_IO_READ_BUFFER_H_
#define WYVERN_DATA_IO_READ_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "data/io/byte_stream.h"

namespace wyvern {

// The limit of a document, and of a line of JSON. Memory holds such a text a few times over.
inline constexpr size_t kMaxDocumentBytes = size_t{64} << 20;

class ReadBuffer {
 public:
  // The stream begins at the byte `offset` of what places are counted in.
  explicit ReadBuffer(std::unique_ptr<ByteStream> stream, int64_t offset = 0)
      : stream_(std::move(stream)), byte_(offset + 1) {}

  absl::string_view text() const { return absl::string_view(bytes_).substr(begin_); }
  bool at_end() const { return at_end_; }
  const ByteStream& stream() const { return *stream_; }

  // Reads some more, or finds the end.
  absl::Status Fill();
  void Consume(size_t count);

  // The place of text()[offset], counted from 1; column and byte count bytes.
  struct Place {
    int64_t line, column, byte;
  };
  Place PlaceOf(size_t offset) const;
  int64_t line() const { return line_; }        // of text()[0]
  int64_t offset() const { return byte_ - 1; }  // of text()[0]

 private:
  std::unique_ptr<ByteStream> stream_;
  std::string bytes_;
  size_t begin_ = 0;
  bool at_end_ = false;
  int64_t line_ = 1, column_ = 1, byte_ = 1;  // of text()[0]
};

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_READ_BUFFER_H_
