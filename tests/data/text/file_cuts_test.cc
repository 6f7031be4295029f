#include "data/text/file_cuts.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/text/parquet_reader.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class FileCutsTest : public DataTest {
 protected:
  // "POSITION TEXT" of each document of a part.
  static std::vector<std::string> Documents(const TextPart& part) {
    const auto reader = DocumentReader::OpenPart(part, {.field = "text"});
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::vector<std::string> documents;
    std::string text;
    bool ends_document = true;
    while (reader.ok()) {
      const auto found = (*reader)->Next(&text, &ends_document);
      EXPECT_TRUE(found.ok()) << found.status();
      if (!found.ok() || !*found) break;
      documents.push_back(absl::StrCat((*reader)->position(), " ", text));
    }
    return documents;
  }

  // Divides the file behind every byte, and compares both parts with the whole.
  static void ExpectPartsAreTheWhole(const std::string& path, size_t num_cuts) {
    const auto cuts = FileCuts::Of(path, {.field = "text"});
    ASSERT_TRUE(cuts.ok()) << cuts.status();
    const std::vector<std::string> whole = Documents({path});
    std::vector<int64_t> found;
    for (int64_t offset = 1; offset <= cuts->bytes(); ++offset) {
      const auto cut = cuts->At(offset);
      ASSERT_TRUE(cut.ok()) << cut.status();
      ASSERT_GE(*cut, offset);
      if (*cut == cuts->bytes() || (!found.empty() && found.back() == *cut)) continue;
      found.push_back(*cut);
      std::vector<std::string> parts = Documents({path, 0, *cut});
      const std::vector<std::string> rest = Documents({path, *cut, cuts->bytes()});
      parts.insert(parts.end(), rest.begin(), rest.end());
      EXPECT_EQ(parts, whole) << *cut;
    }
    EXPECT_EQ(found.size(), num_cuts);
  }
};

TEST_F(FileCutsTest, LinesAreCutWhereTheyBegin) {
  ExpectPartsAreTheWhole(
      WriteText("a.jsonl",
                "\xEF\xBB\xBF{\"text\": \"one\"}\n\n{\"text\": \"zwei \xC3\xA4\"}\r\n"
                "{\"text\": \"three\"}"),
      3);
  ExpectPartsAreTheWhole(WriteText("b.jsonl", "{\"text\": \"[one\"}\n"), 0);
}

TEST_F(FileCutsTest, ParquetIsCutAtRowGroups) {
  if (!CanReadParquet()) GTEST_SKIP() << "this build has no Apache Arrow";
  const std::string rows = "tests/data/text/parquet/rows.parquet";
  const size_t groups = ParquetCuts(rows)->size();
  EXPECT_GT(groups, 0u);
  ExpectPartsAreTheWhole(rows, groups);
  const auto wrong = DocumentReader::OpenPart({rows, 5, 9}, {.field = "text"});
  EXPECT_TRUE(absl::StrContains(wrong.status().message(), "no row group begins")) << wrong.status();
}

TEST_F(FileCutsTest, OtherFilesStayWhole) {
  ExpectPartsAreTheWhole(WriteText("a.txt", "one\ntwo\n"), 0);
  ExpectPartsAreTheWhole(WriteText("a.json", "[{\"text\": \"one\"},\n{\"text\": \"two\"}]"), 0);
}

}  // namespace
}  // namespace wyvern
