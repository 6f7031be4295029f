// The small files in parquet/ are written by tests/clients/write_parquet.py --fixture; many
// more kinds are compared with pyarrow in tests/trainer/clients_test.cc.
#include "data/text/parquet_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/byte_stream.h"
#include "data/text/text_source.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class ParquetReaderTest : public DataTest {
 protected:
  void SetUp() override {
    if (!CanReadParquet()) GTEST_SKIP() << "this build has no Apache Arrow";
  }

  static std::string Rows() { return "tests/data/text/parquet/rows.parquet"; }
  std::string WriteRows(const std::string& name, size_t bytes = std::string::npos) const {
    return WriteText(name, ReadFile(Rows())->substr(0, bytes));
  }

  // The documents, each in brackets, with the error or the notes behind them.
  static std::string ReadAll(const TextSourceOptions& options) {
    const auto source = TextSource::Open(options, LongDocuments::kInPieces);
    if (!source.ok()) return std::string(source.status().message());
    std::string found;
    TextPiece piece;
    while (true) {
      const absl::StatusOr<bool> more = (*source)->Next(&piece);
      if (!more.ok()) return absl::StrCat(found, more.status().message());
      if (!*more) break;
      EXPECT_TRUE(piece.ends_document);
      absl::StrAppend(&found, "[", piece.text, "]");
    }
    EXPECT_EQ((*source)->file_bytes_read(), (*source)->file_bytes());
    return found + absl::StrJoin((*source)->Notes(), "\n");
  }
};

#define EXPECT_SAYS(part, text) EXPECT_TRUE(absl::StrContains(text, part)) << (text)

TEST_F(ParquetReaderTest, AColumnIsADocumentARow) {
  EXPECT_EQ(ReadAll({.paths = {Rows()}}),
            "[first document\n][zweites: äöü][the same][the same][last one]"
            "1 row has a null as 'text' and gave no document");
  EXPECT_EQ(ReadAll({.paths = {Rows()}, .field = "meta.body"}),
            "[FIRST DOCUMENT\n][ZWEITES: ÄÖÜ][THE SAME][THE SAME][LAST ONE]"
            "1 row has a null as 'meta.body' and gave no document");
}

TEST_F(ParquetReaderTest, ItStandsBesideOtherFilesUnderEveryName) {
  std::filesystem::create_directory(Path("in"));
  WriteRows("in/b.PARQUET");
  WriteRows("in/a.snappy.parquet");
  WriteText("in/c.jsonl", "{\"text\": \"of JSON\"}\n");
  WriteText("in/d.txt", "of text");
  WriteText("in/README.md", "about");
  const std::string rows = "[first document\n][zweites: äöü][the same][the same][last one]";
  const std::string found = ReadAll({.paths = {Path("in")}});
  EXPECT_TRUE(absl::StartsWith(found, absl::StrCat(rows, rows, "[of JSON][of text]"))) << found;
  EXPECT_SAYS("3 files are JSON or Parquet, 1 plain text", found);
  EXPECT_SAYS("passed over 1 about the data (README.md)", found);
  EXPECT_TRUE(absl::StartsWith(ReadAll({.paths = {WriteRows("train-00000-of-00001")}}), rows));
}

TEST_F(ParquetReaderTest, ItsBytesAreSummedUpWhole) {
  const auto source = TextSource::Open({.paths = {Rows()}}, LongDocuments::kWhole);
  ASSERT_TRUE(source.ok()) << source.status();
  TextPiece piece;
  while (true) {
    const absl::StatusOr<bool> more = (*source)->Next(&piece);
    ASSERT_TRUE(more.ok()) << more.status();
    if (!*more) break;
  }
  const std::string content = *ReadFile(Rows());
  ASSERT_EQ((*source)->read_files().size(), 1u);
  EXPECT_EQ((*source)->read_files()[0].bytes, static_cast<int64_t>(content.size()));
  EXPECT_EQ((*source)->read_files()[0].crc32, Crc32(content.data(), content.size()));
}

TEST_F(ParquetReaderTest, AColumnThatHoldsNoTextIsNamed) {
  const auto error = [](const std::string& field) {
    return ReadAll({.paths = {Rows()}, .field = field});
  };
  EXPECT_SAYS("no column 'body'; there is: text, meta.body, raw; name the one", error("body"));
  EXPECT_SAYS("the column 'meta' is nested; name a column inside of it: meta.body", error("meta"));
  EXPECT_SAYS("the column 'turns' is nested; no column inside of it holds one text a row",
              error("turns"));
  EXPECT_SAYS("the column 'n' is of type INT64; expected strings", error("n"));
  EXPECT_SAYS("'turns.list.element' lies in a list", error("turns.list.element"));
}

TEST_F(ParquetReaderTest, BytesThatAreNotUtf8AreNamedOrReplaced) {
  TextSourceOptions options = {.paths = {Rows()}, .field = "raw"};
  const std::string error = ReadAll(options);
  EXPECT_SAYS("[ok]tests/data/text/parquet/rows.parquet: row 2 (row group 1): byte 4 (0xE9)",
              error);
  options.on_error = OnError::kSkip;
  const std::string skipped = ReadAll(options);
  EXPECT_SAYS("[ok][x][y][z]2 damaged records were left out: tests/data", skipped);
  options.on_error = OnError::kError;
  options.invalid_utf8 = InvalidUtf8::kReplace;
  const std::string mended = ReadAll(options);
  EXPECT_SAYS("[ok][caf\uFFFD][a\uFFFDb][x][y][z]2 errors of UTF-8 became U+FFFD", mended);
}

TEST_F(ParquetReaderTest, ADamagedFileIsAnError) {
  const size_t bytes = ReadFile(Rows())->size();
  const std::string cut = WriteRows("cut.parquet", bytes - 9);
  EXPECT_SAYS("cut.parquet: this begins as a Parquet file and has no footer",
              ReadAll({.paths = {cut}}));
  const std::string footer = WriteRows("footer.parquet");
  FlipByte(footer, bytes - 5);  // the footer's length
  EXPECT_SAYS("the footer is damaged, fetch the file again", ReadAll({.paths = {footer}}));
  // Wherever a byte of the pages changes, the texts stay the same or an error names the row group.
  const std::string page = WriteRows("page.parquet");
  const std::string whole = ReadAll({.paths = {page}});
  size_t errors = 0;
  for (size_t offset = 4; offset < bytes / 3; ++offset) {
    FlipByte(page, offset);
    const std::string found = ReadAll({.paths = {page}});
    if (found != whole) {
      ++errors;
      EXPECT_SAYS("page.parquet: row group ", found);
      EXPECT_SAYS(" of 3: ", found);
    }
    FlipByte(page, offset);
  }
  EXPECT_GT(errors, 100u);
}

TEST_F(ParquetReaderTest, AFooterThatContradictsItselfIsAnError) {
  // rows.parquet with a text of its footer replaced.
  const auto with_footer = [this](const std::string& before, const std::string& after) {
    std::string content = *ReadFile(Rows());
    uint32_t size = 0;
    std::memcpy(&size, content.data() + content.size() - 8, sizeof(size));
    std::string footer = content.substr(content.size() - 8 - size, size);
    const size_t place = footer.find(before);
    EXPECT_NE(place, std::string::npos);
    footer.replace(place, before.size(), after);
    const auto new_size = static_cast<uint32_t>(footer.size());
    content.resize(content.size() - 8 - size);
    content += footer;
    content.append(reinterpret_cast<const char*>(&new_size), sizeof(new_size));
    return ReadAll({.paths = {WriteText("edited.parquet", content + "PAR1")}});
  };
  // A name and its length in the schema, which comes before the row groups.
  EXPECT_SAYS("edited.parquet: it has two columns 'text'", with_footer("\x03raw", "\x04text"));
  // The number of rows, twice 7, and the list of three row groups.
  EXPECT_SAYS("edited.parquet: it counts 8 rows, its row groups have 7",
              with_footer("\x16\x0E\x19\x3C", "\x16\x10\x19\x3C"));
}

TEST_F(ParquetReaderTest, AnEncryptedFileIsNamed) {
  std::string content = *ReadFile(Rows());
  content.replace(content.size() - 4, 4, "PARE");
  EXPECT_SAYS("a.parquet: this is a Parquet file whose footer is encrypted (it has the magic PARE)",
              ReadAll({.paths = {WriteText("a.parquet", content)}}));
  content.replace(0, 4, "PARE");
  EXPECT_SAYS("b.parquet: this is a Parquet file whose footer is encrypted",
              ReadAll({.paths = {WriteText("b.parquet", content)}}));
}

TEST_F(ParquetReaderTest, ANameOrAFormatThatSaysOtherwiseIsAnError) {
  EXPECT_SAYS("the name says Parquet, but the content is not",
              ReadAll({.paths = {WriteText("a.parquet", "some text")}}));
  EXPECT_SAYS(
      "a pointer of Git LFS to a file, which is not read as text; fetch the file itself",
      ReadAll({.paths = {WriteText("b.parquet",
                                   "version https://git-lfs.github.com/spec/v1\noid sha256:")}}));
  EXPECT_SAYS("this is a Parquet file, which is not read as text; leave the format at 'auto'",
              ReadAll({.paths = {Rows()}, .format = TextFormat::kJson}));
}

TEST_F(ParquetReaderTest, ItIsReadFromTheDiskAlone) {
  const std::string pipe = Path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_EQ(std::system(absl::StrCat("cat ", Rows(), " > ", pipe, " &").c_str()), 0);
  EXPECT_SAYS("this is a Parquet file in a pipe", ReadAll({.paths = {pipe}}));
  const std::string twice = Path("twice.parquet.gz");
  ASSERT_EQ(std::system(absl::StrCat("gzip -c ", Rows(), " > ", twice).c_str()), 0);
  EXPECT_SAYS("this is a Parquet file that is compressed once more", ReadAll({.paths = {twice}}));
}

TEST(ParquetWithoutArrowTest, TheErrorSaysWhatToInstall) {
  if (CanReadParquet()) GTEST_SKIP() << "this build has Apache Arrow";
  const auto source =
      TextSource::Open({.paths = {"tests/data/text/parquet/rows.parquet"}}, LongDocuments::kWhole);
  EXPECT_SAYS("without Apache Arrow", source.status().message());
  EXPECT_SAYS("pip install pyarrow", source.status().message());
}

}  // namespace
}  // namespace wyvern
