#include "data/io/codec.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// Memory that xz may take: its largest preset needs 65 MiB.
constexpr uint64_t kXzMemory = uint64_t{1} << 30;

absl::Status Damaged(absl::string_view reason) {
  return absl::DataLossError(absl::StrCat("the compressed data is damaged: ", reason));
}

// Fields of the interfaces of zlib and bzip2, which are alike.
template <typename Stream, typename Byte>
void PutBuffers(absl::string_view in, char* out, size_t size, Stream* stream) {
  constexpr size_t kMost = size_t{1} << 30;  // their sizes have 32 bits
  stream->next_in = reinterpret_cast<Byte*>(const_cast<char*>(in.data()));
  stream->avail_in = static_cast<unsigned>(std::min(in.size(), kMost));
  stream->next_out = reinterpret_cast<Byte*>(out);
  stream->avail_out = static_cast<unsigned>(std::min(size, kMost));
}

template <typename Stream>
void TakeBuffers(const Stream& stream, absl::string_view* in, char** out, size_t* size) {
  in->remove_prefix(reinterpret_cast<const char*>(stream.next_in) - in->data());
  const size_t made = reinterpret_cast<char*>(stream.next_out) - *out;
  *out += made;
  *size -= made;
}

class Gzip final : public Codec {
 public:
  Gzip() { inflateInit2(&stream_, 15 + 16); }  // the gzip wrapper only
  ~Gzip() override { inflateEnd(&stream_); }

  absl::Status Begin() override {
    inflateReset(&stream_);
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Decode(absl::string_view* in, char** out, size_t* size) override {
    PutBuffers<z_stream, Bytef>(*in, *out, *size, &stream_);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    TakeBuffers(stream_, in, out, size);
    if (result == Z_STREAM_END) return true;
    if (result == Z_OK || result == Z_BUF_ERROR) return false;  // the latter: no progress
    return Damaged(stream_.msg != nullptr ? stream_.msg : zError(result));
  }

 private:
  z_stream stream_ = {};
};

class Zstd final : public Codec {
 public:
  Zstd() : context_(ZSTD_createDCtx()) {
    // Windows of zstd --long=31. They are memory only as far as the text fills them.
    ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, 31);
  }
  ~Zstd() override { ZSTD_freeDCtx(context_); }

  absl::Status Begin() override {
    ZSTD_DCtx_reset(context_, ZSTD_reset_session_only);
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Decode(absl::string_view* in, char** out, size_t* size) override {
    ZSTD_inBuffer input = {in->data(), in->size(), 0};
    ZSTD_outBuffer output = {*out, *size, 0};
    const size_t result = ZSTD_decompressStream(context_, &output, &input);
    if (ZSTD_isError(result) != 0) return Fault(result);
    in->remove_prefix(input.pos);
    *out += output.pos;
    *size -= output.pos;
    return result == 0;
  }

 private:
  static absl::Status Fault(size_t result) {
    switch (ZSTD_getErrorCode(result)) {
      case ZSTD_error_frameParameter_windowTooLarge:
        return absl::InvalidArgumentError(
            "it was compressed with a window beyond 2^31 bytes, the most that is read; compress it "
            "again with zstd --long=31 or less");
      case ZSTD_error_memory_allocation:
        return absl::ResourceExhaustedError(
            "there is no memory for the window it was compressed with (2 GiB for zstd --long=31); "
            "compress it again without --long");
      case ZSTD_error_dictionary_wrong:
        return absl::InvalidArgumentError(
            "it was compressed with a dictionary, which is not read; compress it again without");
      default:
        return Damaged(ZSTD_getErrorName(result));
    }
  }

  ZSTD_DCtx* const context_;
};

class Bzip2 final : public Codec {
 public:
  ~Bzip2() override { BZ2_bzDecompressEnd(&stream_); }

  absl::Status Begin() override {
    BZ2_bzDecompressEnd(&stream_);
    stream_ = {};
    if (BZ2_bzDecompressInit(&stream_, /*verbosity=*/0, /*small=*/0) == BZ_OK) {
      return absl::OkStatus();
    }
    return absl::ResourceExhaustedError("there is no memory to decompress it");
  }
  absl::StatusOr<bool> Decode(absl::string_view* in, char** out, size_t* size) override {
    PutBuffers<bz_stream, char>(*in, *out, *size, &stream_);
    const int result = BZ2_bzDecompress(&stream_);
    TakeBuffers(stream_, in, out, size);
    if (result == BZ_STREAM_END) return true;
    if (result == BZ_OK) return false;
    if (result == BZ_MEM_ERROR) {
      return absl::ResourceExhaustedError("there is no memory to decompress it");
    }
    return Damaged(result == BZ_DATA_ERROR ? "a block's checksum is wrong"
                                           : "it does not go on as bzip2 data");
  }

 private:
  bz_stream stream_ = {};
};

class Xz final : public Codec {
 public:
  ~Xz() override { lzma_end(&stream_); }

  absl::Status Begin() override {
    if (lzma_stream_decoder(&stream_, kXzMemory, /*flags=*/0) == LZMA_OK) return absl::OkStatus();
    return absl::ResourceExhaustedError("there is no memory to decompress it");
  }
  absl::StatusOr<bool> Decode(absl::string_view* in, char** out, size_t* size) override {
    stream_.next_in = reinterpret_cast<const uint8_t*>(in->data());
    stream_.avail_in = in->size();
    stream_.next_out = reinterpret_cast<uint8_t*>(*out);
    stream_.avail_out = *size;
    const lzma_ret result = lzma_code(&stream_, LZMA_RUN);
    TakeBuffers(stream_, in, out, size);
    switch (result) {
      case LZMA_STREAM_END:
        return true;
      case LZMA_OK:
      case LZMA_BUF_ERROR:  // no progress
        return false;
      case LZMA_MEM_ERROR:
      case LZMA_MEMLIMIT_ERROR:
        return absl::ResourceExhaustedError(
            "it needs more than 1 GiB of memory to decompress; compress it again with xz -9 or "
            "less");
      case LZMA_OPTIONS_ERROR:
        return absl::InvalidArgumentError("it uses options of xz that this liblzma does not know");
      default:
        return Damaged("it does not go on as xz data");
    }
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

// Whether `head` begins with `magic`, or ends within it.
bool Begins(absl::string_view head, absl::string_view magic) {
  return absl::StartsWith(magic, head.substr(0, magic.size()));
}

}  // namespace

std::string CompressionOf(absl::string_view head) {
  if (head.empty()) return "";
  if (Begins(head, "\x1F\x8B")) return "gzip";
  if (Begins(head, "\x28\xB5\x2F\xFD") && head.size() > 1) return "zstd";  // not a text "("
  // A skippable frame of zstd; its first byte has 16 values.
  if ((head[0] & 0xF0) == 0x50 && head.size() > 3 && Begins(head.substr(1), "\x2A\x4D\x18")) {
    return "zstd";
  }
  if (Begins(head,
             "\xFD"
             "7zXZ"))
    return "xz";
  // "BZh", the level and the mark of a block or of the end; a text may begin with less.
  if (head.size() >= 10 && Begins(head, "BZh") && head[3] >= '1' && head[3] <= '9' &&
      (Begins(head.substr(4), "1AY&SY") || Begins(head.substr(4), "\x17\x72\x45\x38\x50\x90"))) {
    return "bzip2";
  }
  return "";
}

std::string ConsumeCompressionSuffix(absl::string_view* name) {
  static constexpr struct {
    absl::string_view suffix, compression;
  } kSuffixes[] = {{".gz", "gzip"},   {".gzip", "gzip"}, {".zst", "zstd"},
                   {".zstd", "zstd"}, {".bz2", "bzip2"}, {".xz", "xz"}};
  for (const auto& [suffix, compression] : kSuffixes) {
    if (!absl::EndsWithIgnoreCase(*name, suffix)) continue;
    name->remove_suffix(suffix.size());
    return std::string(compression);
  }
  return "";
}

std::unique_ptr<Codec> Codec::Make(const std::string& compression) {
  if (compression == "gzip") return std::make_unique<Gzip>();
  if (compression == "zstd") return std::make_unique<Zstd>();
  if (compression == "bzip2") return std::make_unique<Bzip2>();
  return std::make_unique<Xz>();
}

}  // namespace wyvern
