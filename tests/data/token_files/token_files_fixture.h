// Files of tokens as other programs write them, for tests.
#ifndef WYVERN_TESTS_DATA_TOKEN_FILES_TOKEN_FILES_FIXTURE_H_
#define WYVERN_TESTS_DATA_TOKEN_FILES_TOKEN_FILES_FIXTURE_H_

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "data/token_files/token_file.h"
#include "tests/data/data_fixture.h"

namespace wyvern {

using Documents = std::vector<std::vector<int32_t>>;

// The bytes of little-endian values of type T.
template <typename T>
std::string Values(const std::vector<int64_t>& values) {
  std::string bytes;
  for (const int64_t value : values) {
    const T narrow = static_cast<T>(value);
    bytes.append(reinterpret_cast<const char*>(&narrow), sizeof(T));
  }
  return bytes;
}

class TokenFilesTest : public DataTest {
 protected:
  // Without waiting for the disk.
  std::string Put(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }

  // All documents of a file, or the error.
  static absl::StatusOr<Documents> ReadAll(const std::string& path,
                                           const TokenFileOptions& options = {},
                                           int64_t vocab_size = 1000) {
    absl::StatusOr<std::unique_ptr<TokenFile>> file = TokenFile::Open(path, options);
    if (!file.ok()) return file.status();
    Documents documents;
    bool is_open = false;
    TokenPiece piece;
    while (true) {
      const absl::StatusOr<bool> found = (*file)->Next(vocab_size, &piece);
      if (!found.ok()) return found.status();
      if (!*found) break;
      if (!is_open) documents.emplace_back();
      documents.back().insert(documents.back().end(), piece.tokens.begin(), piece.tokens.end());
      is_open = !piece.ends_document;
    }
    EXPECT_FALSE(is_open);
    EXPECT_EQ((*file)->read_files().size(), (*file)->paths().size());
    return documents;
  }

  // The message of the error that ReadAll gives; empty: none.
  static std::string Error(const std::string& path, const TokenFileOptions& options = {},
                           int64_t vocab_size = 1000) {
    return std::string(ReadAll(path, options, vocab_size).status().message());
  }

  // An .idx file of Megatron-LM.
  static std::string Index(uint8_t code, const std::vector<int64_t>& lengths,
                           const std::vector<int64_t>& pointers,
                           const std::vector<int64_t>& documents, const std::string& more = "") {
    return absl::StrCat(
        std::string("MMIDIDX\0\0", 9), Values<uint64_t>({1}), Values<uint8_t>({code}),
        Values<uint64_t>({static_cast<int64_t>(lengths.size())}),
        Values<uint64_t>({static_cast<int64_t>(documents.size())}), Values<int32_t>(lengths),
        Values<int64_t>(pointers), Values<int64_t>(documents), more);
  }

  static Documents ReadStore(const std::string& path) {
    const auto store = TokenStore::Open(path);
    EXPECT_TRUE(store.ok()) << store.status();
    EXPECT_TRUE((*store)->Verify().ok());
    Documents documents;
    const absl::Span<const int64_t> offsets = (*store)->document_offsets();
    for (size_t d = 0; d + 1 < offsets.size(); ++d) {
      documents.emplace_back(offsets[d + 1] - offsets[d]);
      EXPECT_TRUE((*store)->Read(offsets[d], offsets[d + 1], documents.back().data()).ok());
    }
    return documents;
  }
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_DATA_TOKEN_FILES_TOKEN_FILES_FIXTURE_H_
