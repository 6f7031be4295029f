#include "data/store/token_store.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/hdf5_file.h"
#include "tests/data/data_fixture.h"

// HDF5 itself loses some memory over a damaged structure; no other leak is pardoned.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace wyvern {
namespace {

class TokenStoreTest : public DataTest {};

TEST_F(TokenStoreTest, ReadsBackEveryRange) {
  const std::string path = WriteStore("a.h5", CountingDocuments({5, 0, 40000, 1, 30000}));
  auto store = TokenStore::Open(path);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->num_tokens(), 70006);
  EXPECT_EQ((*store)->num_documents(), 5);
  EXPECT_EQ((*store)->info().token_bytes, 2);
  EXPECT_EQ((*store)->info().eos_id, 257);
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 70006}, {0, 0}, {32767, 32769}, {65536, 70006}, {70005, 70006}, {12, 65537}}) {
    std::vector<int32_t> tokens(end - begin);
    ASSERT_TRUE((*store)->Read(begin, end, tokens.data()).ok());
    for (int64_t t = begin; t < end; ++t) ASSERT_EQ(tokens[t - begin], t % 251) << t;
  }
  EXPECT_TRUE((*store)->Verify().ok()) << (*store)->Verify();
  EXPECT_EQ((*store)->DocumentAt(0), 0);
  EXPECT_EQ((*store)->DocumentAt(4), 0);
  EXPECT_EQ((*store)->DocumentAt(5), 2);  // document 1 is empty
  EXPECT_EQ((*store)->DocumentAt(40005), 3);
  EXPECT_EQ((*store)->DocumentAt(40006), 4);
  EXPECT_EQ((*store)->DocumentAt(70005), 4);
  EXPECT_EQ(*(*store)->ReadSourceFiles(), std::vector<std::string>{"memory"});
  EXPECT_EQ((*store)->MakeStoreTokenizer().value()->kind(), "byte");
}

TEST_F(TokenStoreTest, AppearsOnlyWhenFinished) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  {
    auto writer = TokenStoreWriter::Create(Path("a.h5"), *tokenizer);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Append({1, 2, 3}).ok());
    ASSERT_TRUE((*writer)->EndDocument(0).ok());
    EXPECT_FALSE(std::filesystem::exists(Path("a.h5")));
  }
  EXPECT_TRUE(FilesLeft().empty());
}

TEST_F(TokenStoreTest, RefusesIdsBeyondTheVocabulary) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  auto writer = TokenStoreWriter::Create(Path("a.h5"), *tokenizer);
  ASSERT_TRUE(writer.ok());
  for (const int32_t id : {258, -1}) {
    const absl::Status status = (*writer)->Append({1, id});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat(id, " is outside"))) << status;
  }
}

// Position in the file of a run of values that occurs once.
size_t Find(const std::string& content, const void* values, size_t num_bytes) {
  const auto* bytes = static_cast<const char*>(values);
  const auto found = std::search(content.begin(), content.end(), bytes, bytes + num_bytes);
  EXPECT_NE(found, content.end());
  return found - content.begin();
}

TEST_F(TokenStoreTest, ABitFlipInATokenIsFoundWhereItIsRead) {
  const std::string path = WriteStore("a.h5", CountingDocuments({70000}));
  std::vector<uint16_t> run(200);
  for (size_t i = 0; i < run.size(); ++i) run[i] = static_cast<uint16_t>((32768 + i) % 251);
  const std::string content = *ReadFile(path);
  // The first occurrence of the second block's first values may lie in block 0: take the last.
  const auto* bytes = reinterpret_cast<const char*>(run.data());
  const auto last = std::find_end(content.begin(), content.end(), bytes, bytes + 400);
  FlipByte(path, last - content.begin());

  auto store = TokenStore::Open(path);
  ASSERT_TRUE(store.ok()) << store.status();
  int damaged = 0;
  for (int64_t block = 0; block < 3; ++block) {
    int32_t token = -1;
    const absl::Status status = (*store)->Read(block * 32768, block * 32768 + 1, &token);
    if (status.ok()) continue;
    ++damaged;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(status.message(), path)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("block ", block))) << status;
    EXPECT_EQ(token, -1) << "a damaged value was handed out";
  }
  EXPECT_EQ(damaged, 1);
  EXPECT_EQ((*store)->Verify().code(), absl::StatusCode::kDataLoss);
}

TEST_F(TokenStoreTest, ABitFlipInTheBoundariesIsFoundAtOpen) {
  const std::string path = WriteStore("a.h5", CountingDocuments({1000, 3456, 789}));
  const std::vector<int64_t> offsets = {0, 1000, 4456, 5245};
  FlipByte(path, Find(*ReadFile(path), offsets.data(), 32) + 8);
  const auto store = TokenStore::Open(path);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(store.status().message(), "document_offsets")) << store.status();
}

// Bytes all over the file in turn (runs of zeros are mostly unused space, so fewer of them): an
// error, or a byte that no value depends on.
TEST_F(TokenStoreTest, NoBitFlipAnywhereIsSilent) {
  const auto documents = CountingDocuments({100, 0, 57, 300});
  const std::string path = WriteStore("a.h5", documents);
  const std::string good = *ReadFile(path);
  const std::string fingerprint = (*TokenStore::Open(path))->fingerprint();
  std::vector<int32_t> expected(457), tokens(457);
  std::iota(expected.begin(), expected.end(), 0);
  for (int32_t& token : expected) token %= 251;
  int found = 0, tried = 0;
  size_t flipped = 0;
  for (size_t offset = 0; offset < good.size(); offset += good[offset] == 0 ? 397 : 8) {
    if (tried > 0) FlipByte(path, flipped);
    FlipByte(path, flipped = offset);
    ++tried;
    const auto store = TokenStore::Open(path);
    if (!store.ok() || !(*store)->Verify().ok()) {
      ++found;
      continue;
    }
    ASSERT_TRUE((*store)->Read(0, 457, tokens.data()).ok());
    ASSERT_EQ(tokens, expected) << "offset " << offset;
    ASSERT_EQ((*store)->fingerprint(), fingerprint) << "offset " << offset;
    ASSERT_EQ((*store)->info().eos_id, 257) << "offset " << offset;
  }
  EXPECT_GT(found, 60) << "of " << tried;
}

TEST_F(TokenStoreTest, TruncationIsAnError) {
  const std::string path = WriteStore("a.h5", CountingDocuments({70000}));
  const std::string good = *ReadFile(path);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, good.size() / 2, good.size() - 1}) {
    ASSERT_TRUE(WriteFileAtomically(path, good.substr(0, size)).ok());
    const auto store = TokenStore::Open(path);
    EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << size << store.status();
    EXPECT_TRUE(absl::StrContains(store.status().message(), path)) << store.status();
  }
}

TEST_F(TokenStoreTest, OtherFilesAreRefusedWithAReason) {
  EXPECT_EQ(TokenStore::Open(Path("none.h5")).status().code(), absl::StatusCode::kNotFound);
  const std::string text = WriteText("text.h5", "this is not HDF5, only text of some length");
  EXPECT_TRUE(absl::StrContains(TokenStore::Open(text).status().message(), "not an HDF5 file"));
  const std::string folder = Path("");
  EXPECT_TRUE(absl::StrContains(TokenStore::Open(folder).status().message(),
                                folder + " is a folder; name a file, such as"));
  {
    auto other = Hdf5File::Create(Path("other.h5"));
    ASSERT_TRUE(other->Close().ok());
  }
  const absl::Status status = TokenStore::Open(Path("other.h5")).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "not a token store")) << status;
}

TEST_F(TokenStoreTest, FingerprintFollowsContent) {
  const auto open = [&](const std::string& name, const std::vector<int64_t>& lengths, int base) {
    return (*TokenStore::Open(WriteStore(name, CountingDocuments(lengths, base))))->fingerprint();
  };
  const std::string a = open("a.h5", {10, 20}, 0);
  EXPECT_EQ(open("b.h5", {10, 20}, 0), a);
  EXPECT_NE(open("c.h5", {11, 19}, 0), a);
  EXPECT_NE(open("d.h5", {10, 20}, 1), a);
}

}  // namespace
}  // namespace wyvern
