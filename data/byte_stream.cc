#include "data/byte_stream.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

class PlainStream final : public ByteStream {
 public:
  PlainStream(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  ~PlainStream() override { std::fclose(file_); }

  absl::StatusOr<size_t> Read(char* bytes, size_t size) override {
    const size_t got = std::fread(bytes, 1, size, file_);
    if (got == 0 && std::ferror(file_) != 0) return ErrnoStatus(errno, "cannot read", path_);
    file_bytes_read_ += static_cast<int64_t>(got);
    return got;
  }
  int64_t file_bytes_read() const override { return file_bytes_read_; }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  std::FILE* const file_;
  int64_t file_bytes_read_ = 0;
};

// Compressed input, a buffer at a time.
class CompressedInput {
 public:
  explicit CompressedInput(std::unique_ptr<PlainStream> file)
      : file_(std::move(file)), buffer_(size_t{1} << 18) {}

  // Refills an empty buffer. False at the end of the file.
  absl::StatusOr<bool> Fill() {
    if (begin_ == end_) {
      begin_ = 0;
      ASSIGN_OR_RETURN(end_, file_->Read(buffer_.data(), buffer_.size()));
    }
    return end_ > 0;
  }
  char* data() { return buffer_.data() + begin_; }
  size_t size() const { return end_ - begin_; }
  void Consume(size_t count) { begin_ += count; }
  int64_t file_bytes_read() const { return file_->file_bytes_read(); }

  absl::Status Damaged(const std::string& reason) const {
    return absl::DataLossError(
        absl::StrCat(file_->path(), ": the compressed data is damaged: ", reason));
  }
  absl::Status Truncated() const { return Damaged("it ends too early"); }

 private:
  std::unique_ptr<PlainStream> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
};

class GzipStream final : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<PlainStream> file) : input_(std::move(file)) {
    inflateInit2(&inflate_, 15 + 16);  // the gzip wrapper only
  }
  ~GzipStream() override { inflateEnd(&inflate_); }

  absl::StatusOr<size_t> Read(char* bytes, size_t size) override {
    inflate_.next_out = reinterpret_cast<Bytef*>(bytes);
    inflate_.avail_out = static_cast<uInt>(size);
    while (inflate_.avail_out == size) {
      ASSIGN_OR_RETURN(const bool more, input_.Fill());
      if (!more) {
        if (inside_) return input_.Truncated();
        return 0;
      }
      if (!inside_) inflateReset(&inflate_);
      inside_ = true;
      inflate_.next_in = reinterpret_cast<Bytef*>(input_.data());
      inflate_.avail_in = static_cast<uInt>(input_.size());
      const int result = inflate(&inflate_, Z_NO_FLUSH);
      input_.Consume(input_.size() - inflate_.avail_in);
      if (result == Z_STREAM_END) {
        inside_ = false;
      } else if (result != Z_OK) {
        return input_.Damaged(inflate_.msg != nullptr ? inflate_.msg : zError(result));
      }
    }
    return size - inflate_.avail_out;
  }
  int64_t file_bytes_read() const override { return input_.file_bytes_read(); }

 private:
  CompressedInput input_;
  z_stream inflate_ = {};
  bool inside_ = true;  // a member: an empty file is not gzip either
};

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<PlainStream> file)
      : input_(std::move(file)), context_(ZSTD_createDCtx()) {}
  ~ZstdStream() override { ZSTD_freeDCtx(context_); }

  absl::StatusOr<size_t> Read(char* bytes, size_t size) override {
    ZSTD_outBuffer out = {bytes, size, 0};
    while (out.pos == 0) {
      // A full output may have left bytes inside the context, so it is asked before the file.
      ASSIGN_OR_RETURN(const bool more, input_.Fill());
      ZSTD_inBuffer in = {input_.data(), input_.size(), 0};
      const size_t result = ZSTD_decompressStream(context_, &out, &in);
      if (ZSTD_isError(result) != 0) return input_.Damaged(ZSTD_getErrorName(result));
      input_.Consume(in.pos);
      if (in.pos > 0 || out.pos > 0) inside_ = result != 0;
      if (!more && out.pos == 0) {
        if (inside_) return input_.Truncated();
        return 0;
      }
    }
    return out.pos;
  }
  int64_t file_bytes_read() const override { return input_.file_bytes_read(); }

 private:
  CompressedInput input_;
  ZSTD_DCtx* const context_;
  bool inside_ = true;  // a frame: an empty file is not zstd either
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteStream>> ByteStream::Open(const std::string& path) {
  std::FILE* handle = std::fopen(path.c_str(), "rbe");
  if (handle == nullptr) return ErrnoStatus(errno, "cannot open", path);
  auto file = std::make_unique<PlainStream>(path, handle);
  if (absl::EndsWith(path, ".gz")) return std::make_unique<GzipStream>(std::move(file));
  if (absl::EndsWith(path, ".zst")) return std::make_unique<ZstdStream>(std::move(file));
  return file;
}

}  // namespace wyvern
