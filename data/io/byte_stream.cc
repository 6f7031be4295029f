#include "data/io/byte_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/codec.h"
#include "data/io/file.h"
#include "data/io/file_descriptor.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// A file, read through a buffer that lets its next bytes be looked at.
class InputFile {
 public:
  static absl::StatusOr<InputFile> Open(const std::string& path) {
    FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus(errno, "cannot open", path);
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(fd.get(), path));
    return InputFile(path, std::move(fd), stamp);
  }

  // Only the bytes [begin, end) are there; before the first read.
  absl::Status Restrict(int64_t begin, int64_t end) {
    if (lseek(fd_.get(), begin, SEEK_SET) != begin) {
      return ErrnoStatus(errno, absl::StrCat("cannot read from byte ", begin + 1), path_);
    }
    bytes_left_ = end - begin;
    return absl::OkStatus();
  }

  // Bytes that were read and not yet used, `size` bytes at least unless the file ends before.
  absl::StatusOr<absl::string_view> Peek(size_t size) {
    while (end_ - begin_ < size && !at_end_) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
      ASSIGN_OR_RETURN(const size_t got, ReadFile(buffer_.data() + end_, buffer_.size() - end_));
      end_ += got;
    }
    return absl::string_view(buffer_.data() + begin_, end_ - begin_);
  }
  void Consume(size_t count) { begin_ += count; }

  absl::StatusOr<size_t> Read(char* bytes, size_t size) {
    const size_t peeked = std::min(size, end_ - begin_);
    if (peeked == 0) return ReadFile(bytes, size);
    std::memcpy(bytes, buffer_.data() + begin_, peeked);
    begin_ += peeked;
    return peeked;
  }

  const std::string& path() const { return path_; }
  const FileStamp& stamp() const { return stamp_; }
  int64_t bytes_read() const { return bytes_read_; }
  int64_t position() const { return bytes_read_ - static_cast<int64_t>(end_ - begin_); }
  uint32_t crc32() const { return crc32_; }

 private:
  InputFile(std::string path, FileDescriptor fd, const FileStamp& stamp)
      : path_(std::move(path)), fd_(std::move(fd)), stamp_(stamp), buffer_(size_t{1} << 18) {}

  absl::StatusOr<size_t> ReadFile(char* bytes, size_t size) {
    ssize_t got;
    size = std::min<uint64_t>(size, static_cast<uint64_t>(bytes_left_));
    do {
      got = read(fd_.get(), bytes, size);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return ErrnoStatus(errno, "cannot read", path_);
    crc32_ = Crc32(bytes, got, crc32_);
    bytes_read_ += got;
    bytes_left_ -= got;
    at_end_ = got == 0;
    return static_cast<size_t>(got);
  }

  std::string path_;
  FileDescriptor fd_;
  FileStamp stamp_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // of what was read and not yet used
  bool at_end_ = false;
  int64_t bytes_read_ = 0;
  int64_t bytes_left_ = std::numeric_limits<int64_t>::max();  // as far as may be read
  uint32_t crc32_ = 0;
};

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(InputFile file) : file_(std::move(file)) {}

  absl::StatusOr<size_t> Read(char* bytes, size_t size) override { return file_.Read(bytes, size); }
  int64_t file_bytes_read() const override { return file_.bytes_read(); }
  uint32_t file_crc32() const override { return file_.crc32(); }
  const FileStamp& file_stamp() const override { return file_.stamp(); }

 protected:
  InputFile file_;
};

class CompressedStream final : public PlainStream {
 public:
  CompressedStream(InputFile file, std::string compression)
      : PlainStream(std::move(file)),
        compression_(std::move(compression)),
        codec_(Codec::Make(compression_)) {}

  absl::StatusOr<size_t> Read(char* bytes, size_t size) override {
    char* out = bytes;
    while (out == bytes) {
      if (!inside_) {
        ASSIGN_OR_RETURN(inside_, BeginMember());
        if (!inside_) return 0;
      }
      ASSIGN_OR_RETURN(const absl::string_view input, file_.Peek(1));
      absl::string_view in = input;
      const absl::StatusOr<bool> ended = codec_->Decode(&in, &out, &size);
      if (!ended.ok()) return Fault(ended.status());
      file_.Consume(input.size() - in.size());
      inside_ = !*ended;
      // The codec had all that is left, and made nothing of it.
      if (input.empty() && inside_ && out == bytes) {
        return absl::DataLossError(absl::StrCat(file_.path(), ": the ", compression_,
                                                " data ends too early: the file is truncated"));
      }
    }
    return static_cast<size_t>(out - bytes);
  }

 private:
  // False at the end of the file.
  absl::StatusOr<bool> BeginMember() {
    while (true) {  // past the padding
      ASSIGN_OR_RETURN(const absl::string_view input, file_.Peek(1));
      if (input.empty()) return false;
      const size_t zeros = std::min(input.find_first_not_of('\0'), input.size());
      file_.Consume(zeros);
      if (zeros < input.size()) break;
    }
    ASSIGN_OR_RETURN(const absl::string_view head, file_.Peek(kMagicBytes));
    // bzip2's magic is known only whole; less is for the codec to find truncated.
    const bool is_cut =
        compression_ == "bzip2" && head.size() < kMagicBytes && head.substr(0, 3) == "BZh";
    if (CompressionOf(head) != compression_ && !is_cut) {
      return absl::DataLossError(absl::StrCat(file_.path(), ": from byte ", file_.position() + 1,
                                              " on, other bytes follow the ", compression_,
                                              " data; fetch the file again, or cut them off"));
    }
    const absl::Status begun = codec_->Begin();
    if (!begun.ok()) return Fault(begun);
    return true;
  }

  absl::Status Fault(const absl::Status& reason) const {
    return absl::Status(reason.code(), absl::StrCat(file_.path(), ": ", reason.message()));
  }

  const std::string compression_;
  const std::unique_ptr<Codec> codec_;
  bool inside_ = false;  // a member
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteStream>> ByteStream::Open(const std::string& path) {
  ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  ASSIGN_OR_RETURN(const absl::string_view head, file.Peek(kMagicBytes));
  const std::string compression = CompressionOf(head);
  if (!compression.empty()) {
    return std::make_unique<CompressedStream>(std::move(file), compression);
  }
  absl::string_view name = path;
  const std::string promised = ConsumeCompressionSuffix(&name);
  if (!promised.empty()) {
    return absl::DataLossError(absl::StrCat(path, ": the name says ", promised, ", but this is no ",
                                            promised,
                                            " data, or only its beginning; fetch the file again, "
                                            "or rename it if it is not compressed"));
  }
  return std::make_unique<PlainStream>(std::move(file));
}

absl::StatusOr<std::unique_ptr<ByteStream>> ByteStream::OpenRaw(const std::string& path) {
  ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  return std::make_unique<PlainStream>(std::move(file));
}

absl::StatusOr<std::unique_ptr<ByteStream>> ByteStream::OpenRange(const std::string& path,
                                                                  int64_t begin, int64_t end) {
  CHECK(0 <= begin && begin <= end);
  ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  RETURN_IF_ERROR(file.Restrict(begin, end));
  return std::make_unique<PlainStream>(std::move(file));
}

}  // namespace wyvern
