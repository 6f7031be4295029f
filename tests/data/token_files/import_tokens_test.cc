#include "data/token_files/import_tokens.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/tokenizer/id_tokenizer.h"
#include "tests/data/token_files/token_files_fixture.h"

namespace wyvern {
namespace {

using absl::StrContains;

class ImportTokensTest : public TokenFilesTest {
 protected:
  ImportTokensOptions Options(const std::vector<std::string>& paths) const {
    ImportTokensOptions options;
    options.paths = paths;
    options.file.dtype = TokenDtype::kUint16;
    options.split.output_dir = Path("out");
    options.split.val_fraction = 0;
    options.progress = false;
    return options;
  }
  std::string WriteRaw(const std::string& name, const std::vector<int64_t>& ids) const {
    return Put(name, Values<uint16_t>(ids));
  }

  const std::unique_ptr<Tokenizer> ids_ = *MakeIdTokenizer(1000, 9);
};

TEST_F(ImportTokensTest, AFileWithoutAnIndexIsADocument) {
  const auto result = ImportTokens(
      Options({WriteRaw("a.bin", {1, 9, 2}), WriteRaw("b.bin", {3, 9}), WriteRaw("c.bin", {})}),
      *ids_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadStore(result->train_path), (Documents{{1, 9, 2, 9}, {3, 9}}));
  EXPECT_EQ(result->added_eos, 1);
  const auto store = *TokenStore::Open(result->train_path);
  EXPECT_EQ(*store->ReadDocumentSources(), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(store->info().eos_id, 9);
  EXPECT_TRUE(StrContains(result->ToString(), "1 documents did not end in eos"));
  EXPECT_TRUE(StrContains(result->ToString(), "a.bin: raw, uint16, 3 tokens, one document"));
}

TEST_F(ImportTokensTest, DocumentsEndAtEosAcrossFiles) {
  ImportTokensOptions options =
      Options({WriteRaw("a.bin", {9, 1, 9, 2}), WriteRaw("b.bin", {3, 9, 9, 4})});
  options.document_end = DocumentEnd::kEos;
  const auto result = ImportTokens(options, *ids_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadStore(result->train_path), (Documents{{9}, {1, 9}, {2, 3, 9}, {9}, {4, 9}}));
  EXPECT_EQ(result->added_eos, 1);
}

TEST_F(ImportTokensTest, DocumentsAreHeldOutAsOfText) {
  std::vector<std::string> paths;
  for (int i = 0; i < 50; ++i) paths.push_back(WriteRaw(absl::StrCat(i, ".bin"), {i + 10, 9}));
  ImportTokensOptions options = Options(paths);
  options.split.val_documents = 7;
  const auto result = ImportTokens(options, *ids_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->val_documents, 7);
  Documents all = ReadStore(result->train_path);
  const Documents val = ReadStore(result->val_path);
  all.insert(all.end(), val.begin(), val.end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(all[i], (std::vector<int32_t>{i + 10, 9}));
  const auto train = *TokenStore::Open(result->train_path);
  EXPECT_TRUE(train->CheckSamePreparation(**TokenStore::Open(result->val_path)).ok());
  const auto description = *ParseJson(*train->ReadPreparation(), "");
  EXPECT_EQ(description["files"].size(), 50u);
  EXPECT_EQ(description["files"][3]["name"], "3.bin");
  EXPECT_EQ(description["files"][3]["bytes"], 4);
  EXPECT_EQ(description["val_documents"], 7);
}

TEST_F(ImportTokensTest, AnErrorLeavesNoStore) {
  const std::string good = WriteRaw("a.bin", {1, 2}), bad = WriteRaw("b.bin", {1, 1000});
  const auto result = ImportTokens(Options({good, bad}), *ids_);
  EXPECT_TRUE(StrContains(result.status().message(), "b.bin: token 1 has the id 1000"));
  EXPECT_FALSE(std::filesystem::exists(Path("out/train.h5")));
  EXPECT_TRUE(StrContains(ImportTokens(Options({WriteRaw("c.bin", {})}), *ids_).status().message(),
                          "no token in"));
}

TEST_F(ImportTokensTest, AFileOfSeveralNamesIsReadOnce) {
  const std::string file = WriteRaw("a.bin", {1, 9});
  std::filesystem::create_symlink(file, Path("link.bin"));
  std::filesystem::create_hard_link(file, Path("second.bin"));
  const ImportTokensOptions options = Options(
      {file, Path("./a.bin"), Path("link.bin"), Path("second.bin"), WriteRaw("b.bin", {2})});
  const auto result = ImportTokens(options, *ids_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(ReadStore(result->train_path), (Documents{{1, 9}, {2, 9}}));
  EXPECT_TRUE(StrContains(result->ToString(), "note: 3 files are reached by several names"));
  std::vector<std::string> notes;
  EXPECT_TRUE(CheckImported(options, *ids_, &notes).ok());
}

TEST_F(ImportTokensTest, FilesOfOthersAreNotReplaced) {
  std::filesystem::create_directory(Path("out"));
  const std::string tokens = WriteRaw("a.bin", {1, 2});
  for (const char* name : {"out/train.h5", "out/val.h5", "out/prepared.json"}) {
    const std::string other = Put(name, "precious");
    const absl::Status refused = ImportTokens(Options({tokens}), *ids_).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kAlreadyExists) << refused;
    EXPECT_TRUE(StrContains(refused.message(), absl::StrCat(other, ": exists already and is not")));
    EXPECT_EQ(*ReadFile(other), "precious");
    std::filesystem::remove(other);
  }
  ASSERT_TRUE(ImportTokens(Options({tokens}), *ids_).ok());
  EXPECT_TRUE(ImportTokens(Options({tokens}), *ids_).ok());  // a store is replaced
  std::filesystem::create_symlink(Path("out/train.h5"), Path("input.bin"));
  ImportTokensOptions options = Options({Path("input.bin")});
  options.file.dtype = TokenDtype::kUint8;
  const absl::Status refused = ImportTokens(options, *ids_).status();
  EXPECT_TRUE(StrContains(refused.message(), "out/train.h5: would be replaced, and is an input ("))
      << refused;
}

TEST_F(ImportTokensTest, ASingleDocumentIsNotHeldOutOnDemand) {
  ImportTokensOptions options = Options({WriteRaw("a.bin", {1, 2})});
  options.split.val_documents = 1;
  EXPECT_TRUE(StrContains(ImportTokens(options, *ids_).status().message(),
                          "val_documents: 1 cannot be held out of 1 document; lower it"));
}

TEST_F(ImportTokensTest, IdsAreTextToo) {
  EXPECT_EQ(ids_->Decode({1, 22, 9, 3}), "1 22 3 ");
  EXPECT_EQ(ids_->Encode("1 22\n999"), (std::vector<int32_t>{1, 22, 999}));
  EXPECT_TRUE(CheckIsIds(*ids_, " 5 6 ").ok());
  EXPECT_TRUE(StrContains(CheckIsIds(*ids_, "5 1000").message(), "'1000'"));
  EXPECT_TRUE(StrContains(CheckIsIds(*ids_, "a b").message(), "'a'"));
  const auto again = MakeTokenizer(ids_->kind(), ids_->model(), "");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->hash(), ids_->hash());
  EXPECT_EQ((*again)->eos_id(), 9);
  EXPECT_FALSE(MakeIdTokenizer(10, 10).ok());
  EXPECT_FALSE(MakeIdTokenizer(0, 0).ok());
  EXPECT_FALSE(MakeIdTokenizer(int64_t{1} << 31, 0).ok());
  EXPECT_FALSE(MakeTokenizer("ids", "{}", "").ok());
}

}  // namespace
}  // namespace wyvern
