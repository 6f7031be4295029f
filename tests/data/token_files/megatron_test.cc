#include "absl/strings/match.h"
#include "data/token_files/export_megatron.h"
#include "data/token_files/import_tokens.h"
#include "data/tokenizer/id_tokenizer.h"
#include "kernels/runtime/random.h"
#include "tests/data/token_files/token_files_fixture.h"

namespace wyvern {
namespace {

using absl::StrContains;

class MegatronTest : public TokenFilesTest {
 protected:
  // d.bin and d.idx; the path of one of them.
  std::string WritePair(const std::string& tokens, const std::string& index) const {
    Put("d.idx", index);
    return Put("d.bin", tokens);
  }
};

TEST_F(MegatronTest, EveryTypeIsRead) {
  const std::vector<int64_t> ids = {1, 2, 3, 100, 5};
  const std::pair<std::string, int> kinds[] = {
      {Values<uint8_t>(ids), 1}, {Values<int8_t>(ids), 1},  {Values<int16_t>(ids), 2},
      {Values<int32_t>(ids), 4}, {Values<int64_t>(ids), 8}, {Values<double>(ids), 8},
      {Values<float>(ids), 4},   {Values<uint16_t>(ids), 2}};
  for (uint8_t code = 1; code <= 8; ++code) {
    const auto& [tokens, bytes] = kinds[code - 1];
    const std::string path =
        WritePair(tokens, Index(code, {2, 1, 2}, {0, 2 * bytes, 3 * bytes}, {0, 2, 3}));
    for (const std::string& name : {path, Path("d.idx"), Path("d")}) {
      const auto documents = ReadAll(name);
      ASSERT_TRUE(documents.ok()) << documents.status();
      EXPECT_EQ(*documents, (Documents{{1, 2, 3}, {100, 5}})) << int{code};
    }
  }
}

TEST_F(MegatronTest, EmptyDocumentsAreLeftOut) {
  const std::string path =
      WritePair(Values<uint16_t>({7, 8}), Index(8, {0, 2}, {0, 0}, {0, 0, 1, 2, 2}));
  EXPECT_EQ(*ReadAll(path), (Documents{{7, 8}}));
  const std::string empty = WritePair("", Index(8, {}, {}, {0}));
  EXPECT_EQ(*ReadAll(empty), Documents());
}

TEST_F(MegatronTest, WhatDoesNotFitIsAnError) {
  const std::string tokens = Values<uint16_t>({1, 2, 3});
  const auto error = [&](const std::string& index, const std::string& bytes) {
    return Error(WritePair(bytes, index));
  };
  const auto damaged = [&](const std::string& index) { return error(index, tokens); };
  EXPECT_EQ(damaged(Index(8, {2, 1}, {0, 4}, {0, 1, 2})), "");
  EXPECT_TRUE(StrContains(damaged(Index(9, {3}, {0}, {0, 1})), "type code 9"));
  EXPECT_TRUE(StrContains(damaged(Index(0, {3}, {0}, {0, 1})), "type code 0"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {})), "no document indices"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {1, 1})), "begins at sequence 1"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {0, 2})), "ends at sequence 2"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {0})), "end at sequence 0 of 1"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {0, -1})), "ends at sequence -1"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {2, 2}, {0, 4}, {0, 2})), "last sequence has 2 tokens"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {1, 1}, {0, 4}, {0, 2})), "begins at byte 4"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {-1, 3}, {0, 0}, {0, 2})), "sequence 0 has -1 tokens"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {4, 3}, {0, 0}, {0, 2})), "sequence 0 has 4 tokens"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {}, {}, {0})), "no sequence"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {0, 1}, "x")), "multimodal"));
  EXPECT_TRUE(StrContains(damaged(Index(8, {3}, {0}, {0, 1}, "xyz")), "3 bytes follow"));
  EXPECT_TRUE(StrContains(error(Index(8, {3}, {0}, {0, 1}), tokens + "x"), "7 bytes"));
  EXPECT_TRUE(StrContains(damaged("TNTIDX"), "too early"));
  EXPECT_TRUE(StrContains(damaged("TNTIDX and more"), "MMIDIDX"));
  std::string huge = Index(8, {3}, {0}, {0, 1});
  huge.replace(18, 8, Values<uint64_t>({INT64_MAX}));
  EXPECT_TRUE(StrContains(damaged(huge), "too few"));
  std::string version = Index(8, {3}, {0}, {0, 1});
  version[9] = 2;
  EXPECT_TRUE(StrContains(damaged(version), "version 2"));
  const std::string whole = Index(8, {2, 1}, {0, 4}, {0, 1, 2});
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(damaged(whole.substr(0, size)), "");
  Put("d.idx", whole);
  std::filesystem::remove(Path("d.bin"));
  EXPECT_TRUE(StrContains(Error(Path("d")), "d.bin"));
}

TEST_F(MegatronTest, IdsOutsideTheVocabularyAreNamed) {
  const std::string path = WritePair(Values<int32_t>({1, 999, 1000}), Index(4, {3}, {0}, {0, 1}));
  EXPECT_TRUE(StrContains(Error(path), "d.bin: token 2 has the id 1000, outside")) << Error(path);
  WritePair(Values<int32_t>({1, -1, 1}), Index(4, {3}, {0}, {0, 1}));
  EXPECT_TRUE(StrContains(Error(path), "token 1 has the id -1"));
  std::string floats = Values<float>({1, 1, 1});
  const float half = 0.5F;
  floats.replace(4, 4, reinterpret_cast<const char*>(&half), 4);
  WritePair(floats, Index(7, {3}, {0}, {0, 1}));
  EXPECT_TRUE(StrContains(Error(path), "token 1 has the id 0.5"));
}

TEST_F(MegatronTest, AStoreComesBackAsItWas) {
  const Random random(1, "documents");
  uint64_t draws = 0;
  for (const int64_t vocab_size : {300, 65'499, 65'500, 70'000}) {
    const std::unique_ptr<Tokenizer> ids = *MakeIdTokenizer(vocab_size, 3);
    auto writer = TokenStoreWriter::Create(Path("in.h5"), *ids);
    ASSERT_TRUE(writer.ok());
    Documents documents;
    for (int d = 0; d < 20; ++d) {
      const double size = random.Uniform(draws++);
      documents.emplace_back();
      for (int i = 0; i < static_cast<int>(size * size * 4000); ++i) {
        const double id = random.Uniform(draws++) * static_cast<double>(vocab_size);
        documents.back().push_back(static_cast<int32_t>(id));
      }
      documents.back().push_back(3);
      ASSERT_TRUE((*writer)->Append(documents.back()).ok());
      ASSERT_TRUE((*writer)->EndDocument(0).ok());
    }
    ASSERT_TRUE((*writer)->Finish({"memory"}).ok());
    for (const int64_t max_sequence : {int64_t{1000}, int64_t{INT32_MAX}}) {
      const auto store = *TokenStore::Open(Path("in.h5"));
      const auto exported = ExportMegatron(*store, Path("peer"), LossMask::kRefuse, max_sequence);
      ASSERT_TRUE(exported.ok()) << exported.status();
      EXPECT_EQ(exported->dtype, vocab_size < 65'500 ? TokenDtype::kUint16 : TokenDtype::kInt32);
      ImportTokensOptions options;
      options.paths = {Path("peer.bin")};
      options.split.output_dir = Path("out");
      options.split.val_fraction = 0;
      options.progress = false;
      const auto imported = ImportTokens(options, *ids);
      ASSERT_TRUE(imported.ok()) << imported.status();
      EXPECT_EQ(imported->added_eos, 0);
      EXPECT_TRUE(ReadStore(Path("out/train.h5")) == documents) << vocab_size;
      EXPECT_EQ((*TokenStore::Open(Path("out/train.h5")))->fingerprint(), store->fingerprint());
    }
  }
}

TEST_F(MegatronTest, ExportsReplaceTheirOwnFilesAlone) {
  const auto store = *TokenStore::Open(WriteStore("in.h5", CountingDocuments({5, 6})));
  const auto error = [&](const std::string& prefix) {
    return std::string(ExportMegatron(*store, prefix, LossMask::kRefuse).status().message());
  };
  EXPECT_TRUE(StrContains(error(""), "output: expected what the names of both files begin with"));
  EXPECT_TRUE(StrContains(error(Path("folder/")), "output: expected"));
  Put("a.bin", "precious");
  EXPECT_TRUE(StrContains(error(Path("a")), "a.bin: exists already and is not of Megatron's form"));
  Put("b.idx", "precious");
  EXPECT_TRUE(StrContains(error(Path("b")), "b.idx: exists already and is not of Megatron's form"));
  EXPECT_EQ(*ReadFile(Path("a.bin")) + *ReadFile(Path("b.idx")), "preciousprecious");
  EXPECT_EQ(error(Path("c")), "");
  EXPECT_EQ(error(Path("c")), "");
  std::filesystem::remove(Path("c.bin"));
  std::filesystem::create_hard_link(Path("in.h5"), Path("c.bin"));
  EXPECT_TRUE(StrContains(error(Path("c")), "c.bin: would be replaced, and is an input"));
}

TEST_F(MegatronTest, ALossMaskIsDroppedOnlyOnDemand) {
  const std::unique_ptr<Tokenizer> ids = *MakeIdTokenizer(100, 3);
  auto writer = TokenStoreWriter::CreateForChat(Path("chats.h5"), *ids);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append({5, 6, 3}, {0, 1, 1}).ok());
  ASSERT_TRUE((*writer)->EndDocument(0).ok());
  ASSERT_TRUE((*writer)->Finish({"memory"}).ok());
  const auto store = *TokenStore::Open(Path("chats.h5"));
  const auto refused = ExportMegatron(*store, Path("peer"), LossMask::kRefuse);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(StrContains(refused.status().message(), "add --drop-loss-mask")) << refused.status();
  EXPECT_FALSE(std::filesystem::exists(Path("peer.bin")));
  const auto exported = ExportMegatron(*store, Path("peer"), LossMask::kDrop);
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_EQ(exported->num_tokens, 3);
  EXPECT_EQ(ReadFile(Path("peer.bin"))->size(), 6u);
}

}  // namespace
}  // namespace wyvern
