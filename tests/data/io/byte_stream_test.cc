#include "data/io/byte_stream.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/codec.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

std::string Gzip(const std::string& content) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<unsigned>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<unsigned>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string Zstd(const std::string& content) {
  std::string packed(ZSTD_compressBound(content.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 1));
  return packed;
}

// A frame that says it needs a window of 2^window_log bytes, of one block that is not compressed.
std::string ZstdOfWindow(int window_log, const std::string& content) {
  std::string frame = "\x28\xB5\x2F\xFD";
  frame += {'\0', static_cast<char>((window_log - 10) << 3)};
  const size_t block = content.size() << 3 | 1;  // the last one
  for (int i = 0; i < 3; ++i) frame += static_cast<char>(block >> (8 * i));
  return frame + content;
}

std::string Bzip2(const std::string& content) {
  std::string packed(content.size() + content.size() / 100 + 600, '\0');
  auto size = static_cast<unsigned>(packed.size());
  EXPECT_EQ(BZ2_bzBuffToBuffCompress(packed.data(), &size, const_cast<char*>(content.data()),
                                     static_cast<unsigned>(content.size()), 1, 0, 0),
            BZ_OK);
  packed.resize(size);
  return packed;
}

std::string Xz(const std::string& content) {
  std::string packed(lzma_stream_buffer_bound(content.size()), '\0');
  size_t size = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(
                0, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(content.data()),
                content.size(), reinterpret_cast<uint8_t*>(packed.data()), &size, packed.size()),
            LZMA_OK);
  packed.resize(size);
  return packed;
}

class ByteStreamTest : public DataTest {
 protected:
  // All bytes, read a few at a time or many.
  static absl::StatusOr<std::string> ReadAll(const std::string& path, size_t step = 100'000) {
    auto stream = ByteStream::Open(path);
    if (!stream.ok()) return stream.status();
    std::string all, buffer(step, '\0');
    while (true) {
      const absl::StatusOr<size_t> got = (*stream)->Read(buffer.data(), buffer.size());
      if (!got.ok()) return got.status();
      if (*got == 0) break;
      all.append(buffer, 0, *got);
    }
    const std::string raw = *ReadFile(path);
    EXPECT_EQ((*stream)->file_bytes_read(), static_cast<int64_t>(raw.size())) << path;
    EXPECT_EQ((*stream)->file_crc32(), Crc32(raw.data(), raw.size())) << path;
    return all;
  }

  struct Format {
    std::string name, suffix, packed;
  };
  static std::vector<Format> Pack(const std::string& text) {
    return {{"gzip", ".gz", Gzip(text)},
            {"zstd", ".zst", Zstd(text)},
            {"bzip2", ".bz2", Bzip2(text)},
            {"xz", ".xz", Xz(text)}};
  }

  static std::string Numbers(size_t bytes) {
    std::string text;
    for (int i = 0; text.size() < bytes; ++i) absl::StrAppend(&text, i % 1000 * 7919, "\n");
    return text;
  }
};

TEST_F(ByteStreamTest, EveryCompressionIsSeenInTheContent) {
  const std::string text = Numbers(600'000), small = "short";
  EXPECT_EQ(*ReadAll(WriteText("plain", text)), text);
  EXPECT_EQ(*ReadAll(WriteText("empty.txt", "")), "");
  for (const Format& format : Pack(text)) {
    // Under its own name, under another's and without an ending.
    for (const char* suffix : {format.suffix.c_str(), ".gz", ".txt", ""}) {
      EXPECT_EQ(*ReadAll(WriteText(absl::StrCat("a", suffix), format.packed)), text)
          << format.name << suffix;
    }
    EXPECT_EQ(CompressionOf(format.packed), format.name);
  }
  for (const Format& format : Pack(small)) {
    EXPECT_EQ(*ReadAll(WriteText("b", format.packed), 1), small) << format.name;
  }
  for (const Format& format : Pack("")) {
    EXPECT_EQ(*ReadAll(WriteText("c", format.packed)), "") << format.name;
  }
}

TEST_F(ByteStreamTest, MembersFollowOneAnotherAndZerosTheLast) {
  const std::string text = Numbers(300'000);
  for (const Format& format : Pack(text)) {
    const std::string& packed = format.packed;
    const std::string path = Path(absl::StrCat("a", format.suffix));
    for (const size_t zeros : {0, 1, 3, 512, 400'000}) {
      const std::string padding(zeros, '\0');
      ASSERT_TRUE(WriteFileAtomically(path, packed + padding).ok());
      EXPECT_EQ(ReadAll(path).value_or("error"), text) << format.name << zeros;
      ASSERT_TRUE(WriteFileAtomically(path, packed + padding + packed + padding).ok());
      EXPECT_EQ(ReadAll(path).value_or("error"), text + text) << format.name << zeros;
    }
    for (const std::string& garbage : {std::string("garbage behind the last member"),
                                       std::string("\n"), std::string("\0\0\0x", 4)}) {
      ASSERT_TRUE(WriteFileAtomically(path, packed + garbage).ok());
      const absl::Status status = ReadAll(path).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << format.name << status;
      EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat(path, ": from byte ")))
          << status;
    }
  }
}

TEST_F(ByteStreamTest, ATruncatedFileIsSaidToBeOne) {
  for (const Format& format : Pack(Numbers(300'000))) {
    const std::string path = Path(absl::StrCat("cut", format.suffix));
    const std::string& packed = format.packed;
    for (const size_t size : {size_t{12}, packed.size() / 2, packed.size() - 1}) {
      ASSERT_TRUE(WriteFileAtomically(path, packed.substr(0, size)).ok());
      const absl::Status status = ReadAll(path).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << format.name << size;
      EXPECT_TRUE(absl::StrContains(status.message(), "truncated")) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), path)) << status;
      // Behind a whole member, too.
      ASSERT_TRUE(WriteFileAtomically(path, packed + packed.substr(0, size)).ok());
      EXPECT_TRUE(absl::StrContains(ReadAll(path).status().message(), "truncated"))
          << format.name << size << ReadAll(path).status();
    }
    for (const size_t size : {size_t{0}, size_t{1}}) {
      ASSERT_TRUE(WriteFileAtomically(path, packed.substr(0, size)).ok());
      EXPECT_EQ(ReadAll(path).status().code(), absl::StatusCode::kDataLoss) << format.name;
    }
    ASSERT_TRUE(WriteFileAtomically(path, "not compressed at all, in truth").ok());
    EXPECT_TRUE(absl::StrContains(ReadAll(path).status().message(), "rename it")) << format.name;
  }
}

TEST_F(ByteStreamTest, DamageIsNoTruncation) {
  for (const Format& format : Pack(Numbers(300'000))) {
    std::string packed = format.packed;
    packed[packed.size() / 2] = static_cast<char>(packed[packed.size() / 2] ^ 0x55);
    const absl::Status status = ReadAll(WriteText("damaged", packed)).status();
    if (format.name == "zstd") continue;  // without a checksum the damage may be text
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << format.name;
    EXPECT_TRUE(absl::StrContains(status.message(), "damaged")) << status;
  }
}

TEST_F(ByteStreamTest, ZstdOfEveryKindIsRead) {
  const std::string text = Numbers(100'000);
  for (const int window_log : {17, 27, 28, 31}) {
    EXPECT_EQ(ReadAll(WriteText("a.zst", ZstdOfWindow(window_log, text))).value_or("error"), text)
        << window_log;
  }
  const std::string skipped("\x5A\x2A\x4D\x18\x05\0\0\0extra", 13);
  const std::string frame = Zstd(text);
  EXPECT_EQ(*ReadAll(WriteText("b.zst", skipped + frame + skipped + frame)), text + text);
  const absl::Status status = ReadAll(WriteText("c.zst", ZstdOfWindow(32, text))).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "--long=31")) << status;
  EXPECT_FALSE(absl::StrContains(status.message(), "damaged")) << status;
}

TEST_F(ByteStreamTest, TextIsNotTakenForCompressedData) {
  for (const std::string& text : {std::string("("), std::string("BZh9 is how bzip2 begins"),
                                  std::string("P*M"), std::string("7zXZ"), std::string("BZh")}) {
    EXPECT_EQ(*ReadAll(WriteText("a.txt", text)), text);
  }
}

}  // namespace
}  // namespace wyvern
