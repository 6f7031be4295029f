// Compressed bytes. The first byte chooses the name's ending.
#include <vector>

#include "data/io/byte_stream.h"
#include "tests/fuzz/scratch.h"

namespace {
constexpr size_t kMostBytes = size_t{16} << 20;  // a small file may hold terabytes of zeros
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  if (size == 0) return 0;
  static constexpr const char* kNames[] = {"a.gz", "a.zst", "a.txt", "a.bz2", "a.xz"};
  const std::string path = scratch.Write(kNames[data[0] % 5], wyvern::View(data + 1, size - 1));
  const auto stream = wyvern::ByteStream::Open(path);
  if (!stream.ok()) return 0;
  static std::vector<char> bytes(1 << 16);
  for (size_t total = 0; total < kMostBytes;) {
    const auto got = (*stream)->Read(bytes.data(), bytes.size());
    CHECK((*stream)->file_bytes_read() <= static_cast<int64_t>(size), "more read than there is");
    if (!got.ok() || *got == 0) return 0;
    CHECK(*got <= bytes.size());
    total += *got;
  }
  return 0;
}
