#include "data/text_source.h"

#include <zlib.h>
#include <zstd.h>

#include "absl/strings/match.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class TextSourceTest : public DataTest {
 protected:
  struct Found {
    std::vector<std::string> documents;
    std::vector<std::string> files;  // of each document
    size_t longest_piece = 0;
    absl::Status status;
  };

  static Found ReadAll(const TextSourceOptions& options) {
    Found found;
    auto source = TextSource::Open(options);
    found.status = source.status();
    if (!source.ok()) return found;
    TextPiece piece;
    std::string document;
    while (true) {
      const absl::StatusOr<bool> more = (*source)->Next(&piece);
      found.status = more.status();
      if (!more.ok() || !*more) break;
      found.longest_piece = std::max(found.longest_piece, piece.text.size());
      document += piece.text;
      if (!piece.ends_document) continue;
      found.documents.push_back(std::exchange(document, ""));
      found.files.push_back((*source)->files()[piece.source]);
    }
    EXPECT_EQ(document, "");
    if (found.status.ok()) {
      EXPECT_EQ((*source)->file_bytes_read(), (*source)->file_bytes());
    }
    return found;
  }

  std::string WriteGzip(const std::string& name, const std::string& content) {
    gzFile file = gzopen(Path(name).c_str(), "wb");
    EXPECT_EQ(gzwrite(file, content.data(), static_cast<unsigned>(content.size())),
              static_cast<int>(content.size()));
    gzclose(file);
    return Path(name);
  }

  std::string WriteZstd(const std::string& name, const std::string& content) {
    std::string compressed(ZSTD_compressBound(content.size()), '\0');
    compressed.resize(
        ZSTD_compress(compressed.data(), compressed.size(), content.data(), content.size(), 1));
    return WriteText(name, compressed);
  }
};

using Documents = std::vector<std::string>;

TEST_F(TextSourceTest, AFileIsADocumentOrIsDivided) {
  const std::string path = WriteText("a.txt", "\n\none\nline\n\n\ntwo\n\n \n\nthree");
  EXPECT_EQ(ReadAll({.paths = {path}}).documents,
            Documents{"\n\none\nline\n\n\ntwo\n\n \n\nthree"});
  EXPECT_EQ(ReadAll({.paths = {path}, .document_separator = "\n\n"}).documents,
            (Documents{"one\nline", "\ntwo", "three"}));
  EXPECT_EQ(ReadAll({.paths = {path}, .document_separator = "<|end|>"}).documents.size(), 1u);
  EXPECT_EQ(*UnescapeSeparator("\\n\\n"), "\n\n");
  EXPECT_FALSE(UnescapeSeparator("\\q").ok());
}

TEST_F(TextSourceTest, LongDocumentsComeInPieces) {
  std::string text, with_separator;
  for (int i = 0; text.size() < 3'500'000; ++i) absl::StrAppend(&text, "word", i, " ");
  with_separator = absl::StrCat(text, "<sep>", text, "<sep>short");
  const Found found =
      ReadAll({.paths = {WriteText("a.txt", with_separator)}, .document_separator = "<sep>"});
  EXPECT_TRUE(found.documents == (Documents{text, text, "short"}));
  EXPECT_LT(found.longest_piece, 1'500'000u);

  std::string no_space;  // three-byte characters must not be cut
  while (no_space.size() < 2'500'000) no_space += "漢";
  auto source = TextSource::Open({.paths = {WriteText("b.txt", no_space)}});
  TextPiece piece;
  std::string all;
  while (*(*source)->Next(&piece)) {
    EXPECT_EQ(piece.text.size() % 3, 0u);
    all += piece.text;
  }
  EXPECT_TRUE(all == no_space);
}

TEST_F(TextSourceTest, SeparatorsAreFoundWhereverTheReadsFall) {
  const size_t read = size_t{1} << 18;
  for (size_t length = read - 4; length <= read + 1; ++length) {
    const Documents expected = {std::string(length, 'a'), std::string(7, 'b')};
    const Found found =
        ReadAll({.paths = {WriteText("a.txt", absl::StrCat(expected[0], "<sep>", expected[1]))},
                 .document_separator = "<sep>"});
    EXPECT_TRUE(found.documents == expected) << length;
  }
}

TEST_F(TextSourceTest, FoldersAreSortedAndCompressionIsUndone) {
  std::filesystem::create_directories(Path("in/deep"));
  WriteText("in/c.txt", "text c");
  WriteText("in/ignored.bin", "binary");
  WriteText("in/a.jsonl", "{\"text\": \"a1\", \"n\": 1}\n\n{\"text\": \"a2 \\u00fc\"}");
  WriteGzip("in/b.jsonl.gz", "{\"text\": \"b1\"}\n{\"text\": \"\"}\n{\"text\": \"b2\"}\n");
  WriteZstd("in/deep/d.ndjson.zst", "{\"text\": \"d1\"}\n");
  WriteGzip("in/deep/e.txt.gz", "text e");
  const Found found = ReadAll({.paths = {Path("in")}});
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_EQ(found.documents, (Documents{"a1", "a2 ü", "b1", "b2", "text c", "d1", "text e"}));
  EXPECT_EQ(found.files[2], Path("in/b.jsonl.gz"));
  EXPECT_EQ(found.files[6], Path("in/deep/e.txt.gz"));
}

TEST_F(TextSourceTest, CompressedStreamsOfAnyShape) {
  std::string text;
  for (int i = 0; text.size() < 600'000; ++i) absl::StrAppend(&text, i % 1000 * 7919, "\n");
  for (const std::string& path : {WriteGzip("a.txt.gz", text), WriteZstd("a.txt.zst", text)}) {
    EXPECT_TRUE(ReadAll({.paths = {path}}).documents == Documents{text}) << path;
    const std::string once = *ReadFile(path);
    WriteText("twice", once + once);
    const std::string twice = Path(absl::StrCat("twice.", path.substr(path.size() - 3)));
    std::filesystem::rename(Path("twice"), twice);
    EXPECT_TRUE(ReadAll({.paths = {twice}}).documents == Documents{text + text}) << path;

    const std::string cut = absl::StrCat(folder_, "/cut", path.substr(path.rfind(".txt")));
    for (const size_t size : {size_t{0}, size_t{1}, once.size() / 2, once.size() - 1}) {
      ASSERT_TRUE(WriteFileAtomically(cut, once.substr(0, size)).ok());
      const absl::Status status = ReadAll({.paths = {cut}}).status;
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << cut << size << status;
      EXPECT_TRUE(absl::StrContains(status.message(), cut)) << status;
    }
    ASSERT_TRUE(WriteFileAtomically(cut, "not compressed at all, in truth").ok());
    EXPECT_EQ(ReadAll({.paths = {cut}}).status.code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(TextSourceTest, JsonFaultsNameFileAndLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"text\": \"a\"}\n\n{\"text\": }\n", ":3: invalid JSON"},
      {"{\"text\": \"a\"}\n{\"text\": \"unclosed", ":2: invalid JSON"},
      {"{\"text\": \"a\"}\n{\"body\": \"b\", \"id\": 3}\n",
       ":2: no member 'text'; there is: body, id"},
      {"{\"text\": 5}\n", ":1: the member 'text' must be a string, but is number"},
      {"[1, 2]\n", ":1: expected a JSON object, got array"},
      {"{\"text\": \"\xff\xfe\"}\n", ":1: invalid JSON"},
  };
  for (const auto& [content, message] : cases) {
    const std::string path = WriteText("a.jsonl", content);
    const absl::Status status = ReadAll({.paths = {path}}).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat(path, message))) << status;
  }
  const std::string path = WriteText("b.jsonl", "{\"body\": \"b\"}\n");
  EXPECT_EQ(ReadAll({.paths = {path}, .field = "body"}).documents, Documents{"b"});
}

TEST_F(TextSourceTest, MissingInputIsAnError) {
  EXPECT_EQ(ReadAll({.paths = {Path("none.txt")}}).status.code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(ReadAll({}).status.ok());
  std::filesystem::create_directories(Path("in"));
  WriteText("in/a.bin", "binary");
  const absl::Status status = ReadAll({.paths = {Path("in")}}).status;
  EXPECT_TRUE(absl::StrContains(status.message(), ".jsonl")) << status;
}

}  // namespace
}  // namespace wyvern
