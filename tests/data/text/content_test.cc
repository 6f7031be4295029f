#include "data/text/content.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

std::string Kind(const std::string& name, const std::string& head,
                 TextFormat format = TextFormat::kAuto, bool is_whole = true) {
  const absl::StatusOr<ContentKind> kind = KindOfContent(name, head, is_whole, format);
  if (!kind.ok()) return std::string(kind.status().message());
  return *kind == ContentKind::kText        ? "text"
         : *kind == ContentKind::kJsonLines ? "lines"
                                            : "array";
}

TEST(ContentTest, NamesHintAtTheKind) {
  for (const char* name : {"a.jsonl", "a.JSONL", "a.ndjson", "a.json", "b/c.json.gz", "a.jsonl.zst",
                           "a.jsonl.bz2", "a.json.xz", "a.jsonl.gzip", "a.jl", "x.txt/a.jsonl"}) {
    EXPECT_EQ(HintOfName(name), NameHint::kJson) << name;
  }
  for (const char* name : {"a.txt", "a.TXT.GZ", "a.md", "b.json/a.txt", "txt.txt"}) {
    EXPECT_EQ(HintOfName(name), NameHint::kText) << name;
  }
  for (const char* name : {"a", "a.jsonl.txt", "a.txt.json", "a.csv", "json", "a.jsonl.00001"}) {
    EXPECT_EQ(HintOfName(name), NameHint::kNone) << name;
  }
}

TEST(ContentTest, JsonLinesAreSeenUnderEveryName) {
  const std::string lines = "\n{\"text\": \"a\", \"n\": {\"m\": 1}}\r\n {\"text\": \"b\"}\n";
  for (const char* name : {"a.jsonl", "a.json", "a.json.gz", "a.txt", "a.jsonl.txt", "a", "a.md"}) {
    EXPECT_EQ(Kind(name, lines), "lines") << name;
  }
  EXPECT_EQ(Kind("a.txt", lines, TextFormat::kText), "text");
  EXPECT_EQ(Kind("a", "no JSON at all", TextFormat::kJson), "lines");  // to be an error of its line
}

TEST(ContentTest, ALineLongerThanTheHeadIsJudgedByItsBeginning) {
  const std::string head = "{\"text\": \"" + std::string(1000, 'a');
  for (const char* name : {"a.jsonl", "a", "a.txt"}) {
    EXPECT_EQ(Kind(name, head, TextFormat::kAuto, /*is_whole=*/false), "lines") << name;
  }
  EXPECT_TRUE(absl::StrContains(Kind("a.txt", head), "a.txt:1: byte"));  // as it ends here
  EXPECT_EQ(Kind("a.txt", "[" + head, TextFormat::kAuto, /*is_whole=*/false), "array");
}

TEST(ContentTest, TextMayHoldBraces) {
  for (const char* text : {"{not JSON}", "{", "{\\bf bold} text", "[1] A note\n", "{{template}}\n",
                           "[{x}] y", "# Title\n{\"text\": \"an example\"}\n"}) {
    EXPECT_EQ(Kind("a.txt", text), "text") << text;
  }
  EXPECT_EQ(Kind("a", "{not JSON}"), "text");
  EXPECT_EQ(Kind("a", "[1] A note\n"), "text");
  EXPECT_EQ(Kind("a.txt", ""), "text");
  // Without a hint the first line decides, and the second is an error of its own. Under a name of
  // text it may be JSON with a broken line.
  const std::string both = "{\"text\": \"an example\"}\nand what it means\n";
  EXPECT_EQ(Kind("a", both), "lines");
  EXPECT_TRUE(absl::StrContains(Kind("a.txt", both), "say which format")) << Kind("a.txt", both);
  EXPECT_EQ(Kind("a.txt", both, TextFormat::kText), "text");
  EXPECT_EQ(Kind("a.txt", both, TextFormat::kJson), "lines");
}

TEST(ContentTest, ABrokenFirstLineDoesNotMakeTextOfJson) {
  const std::string more = "{\"text\": \"b\"}\n{\"text\": \"c\"}\n";
  for (const std::string& first :
       std::vector<std::string>{"{\"text\": \"A\", \"ppl\": NaN}", "{\"text\": \"\\ud800\"}",
                                "{\"text\": \"a\"}{\"text\": \"b\"}", "{ \"text\": \"cut",
                                "of a line that was cut\"}", "# a comment"}) {
    for (const char* name : {"a", "a.txt", "a.jsonl.00001", "a.md"}) {
      const std::string error = Kind(name, "\n" + first + "\n" + more);
      EXPECT_TRUE(absl::StartsWith(error, absl::StrCat(name, ":2: byte "))) << first << error;
      EXPECT_TRUE(absl::StrContains(error, "'text' or 'json'")) << error;
    }
    EXPECT_EQ(Kind("a.txt", first + "\n" + more, TextFormat::kText), "text");
    EXPECT_EQ(Kind("a.txt", first + "\n" + more, TextFormat::kJson), "lines");
    EXPECT_EQ(Kind("a.jsonl", first + "\n" + more), "lines");  // an error of the reader's
    if (first[0] != '{') continue;
    EXPECT_TRUE(absl::StrContains(Kind("a", first), "a:1: byte")) << Kind("a", first);
    const std::string array = "[" + first + ",\n" + "{\"text\": \"b\"}]";
    EXPECT_NE(Kind("a.txt", array), "text") << array;
  }
  for (const char* name : {"a", "a.txt"}) {
    EXPECT_EQ(Kind(name, "{\"text\": \"caf\xE9\"}\n" + more), "lines");  // Latin-1
  }
}

TEST(ContentTest, ArraysAreReadAndSingleObjectsAreNot) {
  const std::string array = "[\n {\n  \"text\": \"a\"\n },\n {\"text\": \"b\"}\n]\n";
  for (const char* name : {"a.json", "a.jsonl", "a", "a.txt"}) {
    EXPECT_EQ(Kind(name, array), "array") << name;
  }
  EXPECT_EQ(Kind("a.json", "[]\n"), "array");
  const std::string object = "{\n  \"text\": \"a\",\n  \"n\": 1\n}\n";
  for (const char* name : {"a.json", "a.jsonl", "a"}) {
    EXPECT_TRUE(absl::StrContains(Kind(name, object), "one JSON object over several lines"))
        << name << Kind(name, object);
  }
  EXPECT_EQ(Kind("a.txt", object), "text");
  // Broken content is left to the reader, which names the line.
  EXPECT_EQ(Kind("a.json", "{\"text\": }\n{\"text\": \"a\"}\n"), "lines");
  EXPECT_EQ(Kind("a.json", "{\"text\": \"unclosed\n{\"text\": \"a\"}\n"), "lines");
  EXPECT_EQ(Kind("a.json", "no JSON"), "lines");
}

TEST(ContentTest, BinaryDataIsNeverText) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"PAR1\x15\x04", "Parquet"},
      {"ARROW1", "Arrow"},
      {"Obj\x01\x04", "Avro"},
      {std::string("ORC\0\1", 5), "ORC"},
      {"\x89HDF\r\n\x1A\n", "HDF5"},
      {"\x93NUMPY\x01", "NumPy"},
      {std::string("SQLite format 3\0", 16), "SQLite"},
      {"\x1F\x8B\x08", "gzip"},
      {"\x28\xB5\x2F\xFD", "zstd"},
      {"\xFD"
       "7zXZ",
       "xz"},
      {"BZh91AY&SY", "bzip2"},
      {"PK\x03\x04", "zip"},
      {"7z\xBC\xAF\x27\x1C", "7z"},
      {absl::StrCat(std::string(257, 'x'), "ustar"), "tar"},
      {"%PDF-1.7\n", "PDF"},
      {"\x7F"
       "ELF",
       "ELF"},
      {"\x89PNG\r\n", "PNG"},
      {"\x80\x04\x95", "pickle"},
      {std::string("\xFF\xFEh\0i\0", 6), "UTF-16"},
      {std::string("h\0i\0.\0", 6), "UTF-16"},
      {std::string("a zero \0 byte", 13), "byte 8 is zero"},
      {"WARC/1.0\r\n", "WARC"},
  };
  for (const auto& [head, what] : cases) {
    for (const char* name : {"a.txt", "a.jsonl", "a"}) {
      for (const TextFormat format : {TextFormat::kAuto, TextFormat::kText, TextFormat::kJson}) {
        const std::string kind = Kind(name, head, format);
        EXPECT_TRUE(absl::StrContains(kind, what)) << what << ": " << kind;
        EXPECT_TRUE(absl::StartsWith(kind, name)) << kind;
      }
    }
  }
  for (const char* text : {"ORCHARD and orc", "GIF87 is a format", "PARENTS", "PK", "Rar!"}) {
    EXPECT_EQ(Kind("a.txt", text), "text") << text;
  }
}

}  // namespace
}  // namespace wyvern
