// The formats other than Megatron-LM's.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/data/token_files/token_files_fixture.h"

namespace wyvern {
namespace {

using absl::StrContains;

class FormatsTest : public TokenFilesTest {
 protected:
  static std::string LlmC(int64_t magic, int64_t version, int64_t count) {
    std::vector<int64_t> header(256, 0);
    header[0] = magic;
    header[1] = version;
    header[2] = count;
    return Values<int32_t>(header);
  }
  // As numpy.lib.format writes it: the header padded so that the values begin at a multiple of 64.
  static std::string Npy(int version, std::string header) {
    const size_t fixed = version == 1 ? 10 : 12;
    header.resize((fixed + header.size() + 64) / 64 * 64 - fixed - 1, ' ');
    header += '\n';
    const auto size = static_cast<int64_t>(header.size());
    return absl::StrCat("\x93NUMPY", std::string(1, static_cast<char>(version)),
                        std::string(1, '\0'),
                        version == 1 ? Values<uint16_t>({size}) : Values<uint32_t>({size}), header);
  }
};

TEST_F(FormatsTest, LlmCSaysItsType) {
  EXPECT_EQ(*ReadAll(Put("a.bin", LlmC(20240520, 1, 3) + Values<uint16_t>({1, 2, 999}))),
            (Documents{{1, 2, 999}}));
  EXPECT_EQ(
      *ReadAll(Put("a.bin", LlmC(20240801, 7, 2) + Values<uint32_t>({128'000, 5})), {}, 200'000),
      (Documents{{128'000, 5}}));
  EXPECT_TRUE(StrContains(Error(Put("a.bin", LlmC(20240520, 1, 4) + Values<uint16_t>({1, 2, 3}))),
                          "counts 4 tokens"));
  EXPECT_TRUE(StrContains(Error(Put("a.bin", LlmC(20240520, 1, 1) + "xyz")), "1027 bytes"));
  EXPECT_TRUE(StrContains(Error(Put("a.bin", LlmC(20240520, 1, 0).substr(0, 500))), "500 bytes"));
  EXPECT_TRUE(
      StrContains(Error(Put("a.bin", LlmC(20240522, 1, 0)), {.format = TokenFileFormat::kLlmC}),
                  "the magic 20240522 and the version 1"));
  EXPECT_TRUE(StrContains(Error(Put("a.bin", LlmC(20240520, 1, 0)), {.dtype = TokenDtype::kUint32}),
                          "not uint32"));
}

TEST_F(FormatsTest, AnUnknownVersionOfLlmCIsNoValues) {
  const std::string path = Put("a.bin", LlmC(20240520, 2, 3) + Values<uint16_t>({1, 2, 3}));
  const std::string error = Error(path, {.dtype = TokenDtype::kUint16}, 65536);
  EXPECT_TRUE(StrContains(error,
                          "a.bin: the header of llm.c has the magic 20240520 and the "
                          "version 2; known are"))
      << error;
  EXPECT_TRUE(
      ReadAll(path, {.format = TokenFileFormat::kRaw, .dtype = TokenDtype::kUint16}, 65536).ok());
}

TEST_F(FormatsTest, DatatrovesIndexEndsDocuments) {
  const std::string path = Put("a.ds", Values<uint16_t>({1, 2, 3, 4}));
  Put("a.ds.index", Values<uint64_t>({2, 2, 3, 4}));
  EXPECT_EQ(*ReadAll(path), (Documents{{1, 2}, {3}, {4}}));
  Put("a.ds", Values<uint32_t>({1, 2, 3, 4}));
  EXPECT_EQ(*ReadAll(path), (Documents{{1, 2}, {3}, {4}}));
  Put("a.ds.metadata", "a|tokenizer|4\n4\n4 T");
  EXPECT_EQ(*ReadAll(path), (Documents{{1, 2}, {3}, {4}}));
  EXPECT_TRUE(StrContains(Error(path, {.dtype = TokenDtype::kUint16}), "not uint16"));
  Put("a.ds.metadata", "a|3\n");
  EXPECT_TRUE(StrContains(Error(path), "have 3 bytes"));
  Put("a.ds.metadata", "a\n");
  EXPECT_TRUE(StrContains(Error(path), "first line"));
  Put("a.ds.metadata", "a|4\n");
  Put("a.ds.index", Values<uint64_t>({2, 1, 4}));
  EXPECT_TRUE(StrContains(Error(path), "document 1 ends at token 1"));
  Put("a.ds.index", Values<uint64_t>({2, 5}));
  EXPECT_TRUE(StrContains(Error(path), "document 1 ends at token 5"));
  Put("a.ds.index", Values<uint64_t>({2, 3}));
  EXPECT_TRUE(StrContains(Error(path), "ends at token 3 of 4"));
  Put("a.ds.index", "1234567");
  EXPECT_TRUE(StrContains(Error(path), "7 bytes"));
  std::filesystem::remove(Path("a.ds.metadata"));
  Put("a.ds.index", Values<uint64_t>({3}));
  EXPECT_TRUE(StrContains(Error(path), "does not fit the 16 bytes"));
  Put("a.ds.loss", "1111");
  EXPECT_TRUE(StrContains(Error(path), "mask of the loss"));
  std::filesystem::remove(Path("a.ds.loss"));
  std::filesystem::remove(Path("a.ds.index"));
  EXPECT_TRUE(StrContains(Error(path), "a.ds.index: no such file"));
}

TEST_F(FormatsTest, NumpysRowsAreDocuments) {
  const std::string ids = Values<uint16_t>({1, 2, 3, 4, 5, 6});
  const auto header = [](const std::string& descr, const std::string& shape,
                         const std::string& order = "False") {
    return absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", order, ", 'shape': ", shape,
                        ", }");
  };
  const auto read = [&](int version, const std::string& head) {
    return ReadAll(Put("a.npy", Npy(version, head) + ids));
  };
  const auto error = [&](const std::string& head) {
    return std::string(read(1, head).status().message());
  };
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(*read(version, header("<u2", "(6,)")), (Documents{{1, 2, 3, 4, 5, 6}}));
    EXPECT_EQ(*read(version, header("<i2", "(2, 3)")), (Documents{{1, 2, 3}, {4, 5, 6}}));
  }
  EXPECT_EQ(*ReadAll(Put("a.npy", Npy(1, header("|u1", "(2,)")) + "\x01\x02")),
            (Documents{{1, 2}}));
  EXPECT_TRUE(StrContains(error(header("<u2", "(7,)")), "promises 1 x 7 values, it has 6"));
  EXPECT_TRUE(StrContains(error(header("<u2", "(2, 2)")), "promises 2 x 2"));
  EXPECT_TRUE(StrContains(error(header("<u2", "(0, 0)")), "promises 0 x 0"));
  EXPECT_TRUE(StrContains(error(header(">u2", "(6,)")), "'>u2'"));
  EXPECT_TRUE(StrContains(error(header("<u2", "(1, 2, 3)")), "3 dimensions"));
  EXPECT_TRUE(StrContains(error(header("<u2", "()")), "0 dimensions"));
  EXPECT_TRUE(StrContains(error(header("<u2", "(2, 3)", "True")), "by columns"));
  for (const std::string head :
       {"", "{", "{'descr': '<u2'}", "{'descr': '<u2', 'fortran_order': 0, 'shape': (6,), }",
        "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (6,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (6,), } more"}) {
    EXPECT_TRUE(StrContains(error(head), "not one of an array of numbers")) << head;
  }
  EXPECT_TRUE(StrContains(Error(Put("a.npy", "\x93NUMPY\x04")), "too early"));
  EXPECT_TRUE(StrContains(Error(Put("a.npy", Npy(4, header("<u2", "(6,)")))), "version 4"));
}

TEST_F(FormatsTest, FilesOfValuesNeedTheirType) {
  const std::string path = Put("olmo.npy", Values<uint16_t>({1, 2, 3}));
  EXPECT_TRUE(StrContains(Error(path), "give its dtype"));
  EXPECT_EQ(*ReadAll(path, {.dtype = TokenDtype::kUint16}), (Documents{{1, 2, 3}}));
  EXPECT_TRUE(StrContains(Error(path, {.dtype = TokenDtype::kUint32}), "6 bytes"));
  EXPECT_TRUE(StrContains(Error(path, {.format = TokenFileFormat::kNpy}), "as raw"));
  EXPECT_TRUE(StrContains(Error(Path("nothing.bin")), "nothing.bin"));
  EXPECT_TRUE(StrContains(Error(folder_), "a folder"));
}

}  // namespace
}  // namespace wyvern
