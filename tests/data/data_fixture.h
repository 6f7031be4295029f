// Temporary folders and small stores for the tests of data/.
#ifndef WYVERN_TESTS_DATA_DATA_FIXTURE_H_
#define WYVERN_TESTS_DATA_DATA_FIXTURE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/store/token_store.h"
#include "data/tokenizer/byte_tokenizer.h"

namespace wyvern {

class DataTest : public testing::Test {
 protected:
  DataTest() {
    std::string name = (std::filesystem::temp_directory_path() / "wyvern_data_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~DataTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }

  std::string WriteText(const std::string& name, const std::string& content) const {
    EXPECT_TRUE(WriteFileAtomically(Path(name), content).ok());
    return Path(name);
  }

  // A byte-tokenizer store with the documents given.
  std::string WriteStore(const std::string& name,
                         const std::vector<std::vector<int32_t>>& documents) const {
    const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
    auto writer = TokenStoreWriter::Create(Path(name), *tokenizer);
    EXPECT_TRUE(writer.ok()) << writer.status();
    for (const std::vector<int32_t>& document : documents) {
      EXPECT_TRUE((*writer)->Append(document).ok());
      EXPECT_TRUE((*writer)->EndDocument(0).ok());
    }
    EXPECT_TRUE((*writer)->Finish({"memory"}).ok());
    return Path(name);
  }

  // Documents of the given lengths; token t of the store is (base + t) % 251.
  static std::vector<std::vector<int32_t>> CountingDocuments(const std::vector<int64_t>& lengths,
                                                             int base = 0) {
    std::vector<std::vector<int32_t>> documents;
    int64_t next = base;
    for (const int64_t length : lengths) {
      documents.emplace_back();
      for (int64_t i = 0; i < length; ++i) {
        documents.back().push_back(static_cast<int32_t>(next++ % 251));
      }
    }
    return documents;
  }

  std::vector<std::string> FilesLeft() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  // Flips a bit in place; a second call restores it.
  static void FlipByte(const std::string& path, size_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    ASSERT_NE(byte, EOF);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 0x10));
  }

  std::string folder_;
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_DATA_DATA_FIXTURE_H_
