#include "data/text/text_source.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/read_buffer.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class TextSourceTest : public DataTest {
 protected:
  struct Found {
    std::vector<std::string> documents;
    std::vector<std::string> files;  // of each document
    size_t longest_piece = 0;
    std::string notes;
    absl::Status status;
  };

  static Found ReadAll(const TextSourceOptions& options,
                       LongDocuments long_documents = LongDocuments::kWhole) {
    Found found;
    auto source = TextSource::Open(options, long_documents);
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
    found.notes = absl::StrJoin((*source)->Notes(), "\n");
    if (found.status.ok()) {
      EXPECT_EQ((*source)->read_files().size(), (*source)->files().size());
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

TEST_F(TextSourceTest, LongDocumentsComeInPiecesIfTheyMay) {
  std::string text;
  for (int i = 0; text.size() < 3'500'000; ++i) absl::StrAppend(&text, "word", i, "\n");
  const std::string path = WriteText("a.txt", absl::StrCat(text, "<sep>", text, "<sep>short"));
  const TextSourceOptions options = {.paths = {path}, .document_separator = "<sep>"};
  const Found found = ReadAll(options, LongDocuments::kInPieces);
  EXPECT_TRUE(found.documents == (Documents{text, text, "short"}));
  EXPECT_LT(found.longest_piece, 1'500'000u);
  const Found whole = ReadAll(options);
  EXPECT_TRUE(whole.documents == found.documents);
  EXPECT_EQ(whole.longest_piece, text.size());

  // No piece ends within a character, nor within what is replaced at once.
  for (const char* character : {"漢", "é", "🜁", "abcdefgh\xE6\xBC"}) {
    std::string no_line = "x";
    while (no_line.size() < 2'200'000) no_line += character;
    const TextSourceOptions replace = {.paths = {WriteText("b.txt", no_line)},
                                       .invalid_utf8 = InvalidUtf8::kReplace};
    const Found mended = ReadAll(replace);
    EXPECT_EQ(mended.documents.size(), 1u) << mended.status;
    EXPECT_TRUE(ReadAll(replace, LongDocuments::kInPieces).documents == mended.documents)
        << character;
  }
}

TEST_F(TextSourceTest, ADocumentHasALimit) {
  std::string text = "first\n#\n" + std::string(kMaxDocumentBytes, 'a');
  TextSourceOptions options = {.paths = {WriteZstd("a.txt.zst", text)},
                               .document_separator = "#\n"};
  const Found found = ReadAll(options);
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_EQ(found.documents[1].size(), kMaxDocumentBytes);
  text += "b";
  WriteZstd("a.txt.zst", text);
  const absl::Status status = ReadAll(options).status;
  EXPECT_TRUE(absl::StrContains(status.message(), "a.txt.zst:3: the document that begins here"))
      << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "64 MiB")) << status;
  EXPECT_TRUE(ReadAll(options, LongDocuments::kInPieces).status.ok());
  options = {
      .paths = {WriteZstd("a.jsonl.zst", "{\"text\": \"a\"}\n{\"text\": \"" + text.substr(9))}};
  const absl::Status json = ReadAll(options).status;
  EXPECT_TRUE(absl::StrContains(json.message(), "a.jsonl.zst:2: the line is longer than 64 MiB"))
      << json;
}

TEST_F(TextSourceTest, SeparatorsAreFoundInFilesOfEverySystem) {
  const std::string path = WriteText("a.txt", "one\r\nline\r\n\r\ntwo\n\nthree\r\n\r\n");
  const Found found = ReadAll({.paths = {path}, .document_separator = "\n\n"});
  EXPECT_EQ(found.documents, (Documents{"one\r\nline", "two", "three"}));
  EXPECT_EQ(found.notes, "");
  const Found never = ReadAll({.paths = {path}, .document_separator = "<sep>\n"});
  EXPECT_EQ(never.documents.size(), 1u);
  EXPECT_TRUE(absl::StrContains(never.notes, "\"<sep>\\n\" never occurs")) << never.notes;
  const std::string json = WriteText("a.jsonl", "{\"text\": \"a\"}\n");
  EXPECT_TRUE(absl::StrContains(ReadAll({.paths = {json}, .document_separator = "\n"}).notes,
                                "no effect on JSON"));
}

TEST_F(TextSourceTest, SeparatorsAreFoundWhereverTheReadsFall) {
  const size_t read = size_t{1} << 18;
  for (size_t length = read - 4; length <= read + 1; ++length) {
    const Documents expected = {std::string(length, 'a'), std::string(7, 'b')};
    for (const char* separator : {"<sep>", "\n\n", "\r\n\r\n", "\n\r\n"}) {
      const std::string text = absl::StrCat(expected[0], separator, expected[1]);
      const Found found = ReadAll({.paths = {WriteText("a.txt", text)},
                                   .document_separator = *separator == '<' ? separator : "\n\n"});
      EXPECT_TRUE(found.documents == expected) << length << separator;
    }
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

TEST_F(TextSourceTest, JsonFaultsNameFileAndLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"text\": \"a\"}\n\n{\"text\": }\n", ":3: byte 10: this is not JSON"},
      {"{\"text\": \"a\"}\n{\"text\": \"unclosed", ":2: byte 19: this is not JSON"},
      {"no JSON", ":1: byte 2: this is not JSON"},
      {"{\"text\": \"a\"}\n{\"body\": \"b\", \"id\": 3}\n",
       ":2: no member 'text'; there is: body, id"},
      {"{\"id\": 1e999}\n", ":1: byte 12: this is not JSON (number overflow"},
      {"{\"text\": 5}\n", ":1: the member 'text' must be a string, but is number"},
      {"[1, 2]\n",
       ":1: element 1 of the array is a number; expected an array of objects or of strings"},
      {"[\n[\"a\"]]\n", ":2: element 1 of the array is an array; expected"},
      {"[\"a\", {\"text\": \"b\"}]\n",
       ":1: element 2 of the array is an object; expected an array of strings alone"},
      {"[\"a\", \"\\ud800\"]\n", ":1: byte 8: this is not JSON"},
      {"\"a\"\n", ":1: expected a JSON object, got string"},
      {"[\"a\"]\n[\"b\"]\n", ":1: expected a JSON object, got array"},
      {"{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n", ":2:11: byte 25 (0xFF) is not UTF-8"},
      {"[\n{\"text\": \"a\"},\n{\"body\": 1}\n]\n", ":3: no member 'text'"},
      {"[{\"text\": \"a\"}\n", ":2: the file ends within the array"},
      {"[{\"text\": \"a\"} {\"text\": \"b\"}]\n", ":1: expected ',' or ']'"},
      {"[{\"text\": \"a\"},]\n", ":1: an element of the array is missing"},
      {"[{\"text\": \"a\"}]\n{}\n", ":2: there is more behind the array's end"},
      {"[{\"text\": \"a\"}, 5]\n",
       ":1: element 2 of the array is a number; expected an array of objects alone"},
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

TEST_F(TextSourceTest, MessagesAreShort) {
  const std::string a(1'000'000, 'a');
  for (const std::string& line :
       {absl::StrCat("{\"text\": \"", a), absl::StrCat("{\"", a, "\": 1}")}) {
    const absl::Status status = ReadAll({.paths = {WriteText("a.jsonl", line)}}).status;
    EXPECT_FALSE(status.ok());
    EXPECT_LT(status.message().size(), 600u);
  }
}

TEST_F(TextSourceTest, ArraysOfObjectsAreRead) {
  std::string array = "[ ";
  Documents expected;
  for (int i = 0; i < 5000; ++i) {
    expected.push_back(absl::StrCat("]} \"", i, "\" \\ [{"));
    absl::StrAppend(&array, i > 0 ? "\n, " : "", "{\n  \"n\": [{}, []],\n  \"text\": \"]} \\\"", i,
                    "\\\" \\\\ [{\"}");
  }
  const Found found = ReadAll({.paths = {WriteText("a.json", array + "\n]\n")}});
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_TRUE(found.documents == expected);
  EXPECT_EQ(ReadAll({.paths = {WriteText("b.json", "[]")}}).documents, Documents{});
}

TEST_F(TextSourceTest, ArraysOfStringsAreRead) {
  const std::string array = "[\n  \"one\",\n  \"two \\\" \\n ]\", \"\", \"three\"]\n";
  for (const char* name : {"a.json", "a.jsonl", "a.json.gz"}) {
    const std::string path =
        absl::EndsWith(name, ".gz") ? WriteGzip(name, array) : WriteText(name, array);
    EXPECT_EQ(ReadAll({.paths = {path}}).documents, (Documents{"one", "two \" \n ]", "three"}))
        << name;
    // The strings have no members, and are no conversations.
    EXPECT_TRUE(absl::StrContains(ReadAll({.paths = {path}, .field = "body"}).status.message(),
                                  ":2: element 1 of the array is a string; expected an array of "
                                  "objects"));
    EXPECT_FALSE(ReadAll({.paths = {path}, .format = TextFormat::kChat}).status.ok());
  }
  // Under another name this may be text, unless the format says otherwise.
  const std::string text = WriteText("a", array);
  EXPECT_EQ(ReadAll({.paths = {text}}).documents, Documents{array});
  EXPECT_EQ(ReadAll({.paths = {text}, .format = TextFormat::kJson}).documents.size(), 3u);
  TextSourceOptions options = {.paths = {WriteText("b.json", "[null, \"one\", 2, \"\\ud800\"]")}};
  options.on_error = OnError::kSkip;
  EXPECT_EQ(ReadAll(options).documents, Documents{"one"});
  options.on_error = OnError::kError;
  options.paths = {WriteText("c.json", "[\"a \\ud800\"]")};
  options.invalid_utf8 = InvalidUtf8::kReplace;
  EXPECT_EQ(ReadAll(options).documents, Documents{"a \uFFFD"});
}

TEST_F(TextSourceTest, WhatIsNotUtf8IsAnErrorOrReplaced) {
  std::string text = "first line\n";
  for (int i = 0; text.size() < 400'000; ++i) absl::StrAppend(&text, "line ", i, "\n");
  const std::string path = WriteText("l.txt", text + "caf\xE9 na\xEFve, caf\xE9");
  const absl::Status status = ReadAll({.paths = {path}}).status;
  const auto lines = std::count(text.begin(), text.end(), '\n');
  EXPECT_TRUE(absl::StrContains(
      status.message(),
      absl::StrCat(path, ":", lines + 1, ":4: byte ", text.size() + 4, " (0xE9) is not UTF-8")))
      << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "invalid_utf8")) << status;
  const Found found = ReadAll({.paths = {path}, .invalid_utf8 = InvalidUtf8::kReplace});
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_TRUE(found.documents == Documents{text + "caf\uFFFD na\uFFFDve, caf\uFFFD"});
  EXPECT_TRUE(absl::StrContains(found.notes, "3 errors of UTF-8")) << found.notes;

  const std::string json = WriteText("l.jsonl", "{\"text\": \"caf\xE9\"}\n");
  EXPECT_FALSE(ReadAll({.paths = {json}}).status.ok());
  EXPECT_EQ(ReadAll({.paths = {json}, .invalid_utf8 = InvalidUtf8::kReplace}).documents,
            Documents{"caf\uFFFD"});
  const std::string half =
      WriteText("half.jsonl", "{\"text\": \"a \\ud83d b \\\\ud83d \\ud83d\\ude00\"}\n");
  EXPECT_TRUE(absl::StrContains(ReadAll({.paths = {half}}).status.message(), "surrogate"));
  const Found whole = ReadAll({.paths = {half}, .invalid_utf8 = InvalidUtf8::kReplace});
  EXPECT_EQ(whole.documents, Documents{"a \uFFFD b \\ud83d \U0001F600"});
  EXPECT_TRUE(absl::StrContains(whole.notes, "1 error of UTF-8")) << whole.notes;
  const TextSourceOptions word = {.paths = {WriteText("word.txt", "\xE9t\xE9")},
                                  .invalid_utf8 = InvalidUtf8::kReplace};
  EXPECT_EQ(ReadAll(word).documents, Documents{"\uFFFDt\uFFFD"});
  // Binary data do not become a text of U+FFFD.
  std::string noise;
  for (int i = 0; i < 3000; ++i) noise += static_cast<char>(128 + i * 7919 % 127);
  EXPECT_FALSE(
      ReadAll({.paths = {WriteText("noise.txt", noise)}, .invalid_utf8 = InvalidUtf8::kReplace})
          .status.ok());
  // A zero byte behind the head.
  const std::string zero = WriteText("zero.txt", text + std::string("\0", 1));
  EXPECT_TRUE(absl::StrContains(ReadAll({.paths = {zero}}).status.message(), "is zero"));
  const std::string element =
      absl::StrCat("[{\"text\": \"", std::string(400'000, 'a'), "\"}", std::string(1, '\0'), "]");
  EXPECT_FALSE(ReadAll({.paths = {WriteText("zero.json", element)}}).status.ok());
}

TEST_F(TextSourceTest, AByteOrderMarkIsNoText) {
  const Found text = ReadAll({.paths = {WriteText("a.txt", "\xEF\xBB\xBFtext \xEF\xBB\xBF")}});
  EXPECT_EQ(text.documents, Documents{"text \xEF\xBB\xBF"});
  const Found json = ReadAll({.paths = {WriteText("a.json", "\xEF\xBB\xBF{\"text\": \"a\"}\n")}});
  EXPECT_EQ(json.documents, Documents{"a"});
}

TEST_F(TextSourceTest, AFieldWithoutEffectIsAnError) {
  const std::string text = WriteText("a.txt", "text");
  const std::string json = WriteText("b.jsonl", "{\"body\": \"b\"}\n");
  const absl::Status status = ReadAll({.paths = {text}, .field = "body"}).status;
  EXPECT_TRUE(absl::StrContains(status.message(), "field: 'body' has no effect")) << status;
  const Found both = ReadAll({.paths = {text, json}, .field = "body"});
  EXPECT_EQ(both.documents, (Documents{"text", "b"}));
  EXPECT_TRUE(absl::StrContains(both.notes, "1 file is JSON, 1 plain text")) << both.notes;
}

TEST_F(TextSourceTest, AFileThatCannotBeReadIsFoundBeforeTheOthersAre) {
  const std::string good = WriteText("a.txt", "text");
  const std::string bad = WriteText("b.txt", "PAR1 and so on");
  const auto source = TextSource::Open({.paths = {good, bad}}, LongDocuments::kWhole);
  EXPECT_TRUE(absl::StrContains(source.status().message(), bad)) << source.status();
  EXPECT_TRUE(absl::StrContains(source.status().message(), "Parquet")) << source.status();
}

TEST_F(TextSourceTest, DamagedRecordsAreAnErrorOrLeftOut) {
  TextSourceOptions options = {
      .paths = {WriteText("a.jsonl",
                          "{\"text\": \"one\"}\n{\"text\": \n{\"txt\": \"x\"}\n"
                          "{\"text\": \"caf\xE9\"}\n{\"text\": 1}\n{\"text\": \"two\"}\ncut"),
                WriteText("b.json",
                          "[{\"text\": \"three\"}, {\"txt\": \"\"}, {\"text\": \"four\"}]"),
                WriteText("c.txt", "five<sep>caf\xE9<sep>six")},
      .document_separator = "<sep>"};
  EXPECT_TRUE(absl::StrContains(ReadAll(options).status.message(), "a.jsonl:2: byte"));
  options.on_error = OnError::kSkip;
  for (const LongDocuments pieces : {LongDocuments::kWhole, LongDocuments::kInPieces}) {
    const Found found = ReadAll(options, pieces);
    EXPECT_TRUE(found.status.ok()) << found.status;
    EXPECT_EQ(found.documents, (Documents{"one", "two", "three", "four", "five", "six"}));
    for (const char* part :
         {"7 damaged records were left out", "a.jsonl:2: byte", "a.jsonl:3: no member 'text'",
          "a.jsonl:4:14: byte", "a.jsonl:5: the member", "a.jsonl:7: byte", "and more"}) {
      EXPECT_TRUE(absl::StrContains(found.notes, part)) << part << ": " << found.notes;
    }
  }
  // Where no end of a record is known, and where the field is wrong, nothing can be left out.
  options.paths = {WriteText("d.json", "[{\"text\": \"a\"}, {\"text\": \"b\"")};
  EXPECT_TRUE(absl::StrContains(ReadAll(options).status.message(), "ends within the array"));
  options.paths = {WriteText("e.jsonl", "{\"body\": \"a\"}\n{\"body\": \"b\"}\n")};
  const absl::Status wrong = ReadAll(options).status;
  EXPECT_TRUE(absl::StrContains(wrong.message(), "each of the 2 records is damaged")) << wrong;
  EXPECT_TRUE(absl::StrContains(wrong.message(), "no member 'text'; there is: body")) << wrong;
}

TEST_F(TextSourceTest, AnElementThatIsNoObjectIsADamagedRecord) {
  TextSourceOptions options = {
      .paths = {
          WriteText("a.json",
                    "[{\"text\": \"one\"}, 17, \"a \\\" ] b\",\nnull, [1, {}], -1.5e3 , true,\n"
                    "{\"text\": \"two\"}, 4]")}};
  EXPECT_TRUE(absl::StrContains(ReadAll(options).status.message(),
                                "a.json:1: element 2 of the array is a number"));
  options.on_error = OnError::kSkip;
  const Found found = ReadAll(options);
  EXPECT_TRUE(found.status.ok()) << found.status;
  EXPECT_EQ(found.documents, (Documents{"one", "two"}));
  for (const char* part : {"7 damaged records were left out", "a.json:1: element 3 of the array",
                           "a.json:2: element 4 of the array"}) {
    EXPECT_TRUE(absl::StrContains(found.notes, part)) << part << ": " << found.notes;
  }
  options.paths = {WriteText("b.json", "[{\"text\": \"one\"}, , {\"text\": \"two\"}]")};
  EXPECT_TRUE(absl::StrContains(ReadAll(options).status.message(), "b.json:1: an element"));
}

TEST_F(TextSourceTest, EqualDocumentsAreLeftOutWhereAsked) {
  TextSourceOptions options = {
      .paths = {WriteText("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"a\"}\n"),
                WriteText("b.txt", "b<sep>c<sep>a <sep>c")},
      .document_separator = "<sep>"};
  EXPECT_EQ(ReadAll(options).documents, (Documents{"a", "b", "a", "b", "c", "a ", "c"}));
  options.dedup = Dedup::kExact;
  const Found found = ReadAll(options);
  EXPECT_EQ(found.documents, (Documents{"a", "b", "c", "a "}));
  EXPECT_TRUE(absl::StrContains(found.notes, "3 documents were left out, equal to an earlier one"))
      << found.notes;
  // A document of several pieces is compared whole.
  const std::string line(size_t{3} << 20, 'x');
  options.paths = {WriteText("c.txt", line + "1<sep>" + line + "2<sep>" + line + "1")};
  EXPECT_EQ(ReadAll(options, LongDocuments::kInPieces).documents,
            (Documents{line + "1", line + "2"}));
}

TEST_F(TextSourceTest, AFileThatChangesWhileItIsReadIsAnError) {
  const std::string line = "{\"text\": \"a\"}\n";
  std::string content;
  for (int i = 0; i < 50000; ++i) content += line;
  const std::string path = Path("a.jsonl");
  const auto overwrite = [&] {
    std::fstream file(path, std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(content.size() / line.size() / 2 * line.size()));
    file << "{\"text\": \"b\"}\n";
  };
  const auto append = [&] { std::ofstream(path, std::ios::app) << line; };
  const auto truncate = [&] { std::filesystem::resize_file(path, content.size() - line.size()); };
  const auto cut_a_line = [&] { std::filesystem::resize_file(path, content.size() - 3); };
  const auto replace = [&] { WriteText("a.jsonl", content); };
  const auto remove = [&] { std::filesystem::remove(path); };
  const std::vector<std::function<void()>> changes = {overwrite,  append,  truncate,
                                                      cut_a_line, replace, remove};
  for (size_t change = 0; change < changes.size(); ++change) {
    for (const bool has_begun : {false, true}) {
      WriteText("a.jsonl", content);
      std::this_thread::sleep_for(
          std::chrono::milliseconds(20));  // beyond what the clock of the files tells apart
      auto source = *TextSource::Open({.paths = {path}}, LongDocuments::kWhole);
      TextPiece piece;
      ASSERT_TRUE(!has_begun || *source->Next(&piece));
      changes[change]();
      absl::StatusOr<bool> more = true;
      while (more.ok() && *more) more = source->Next(&piece);
      ASSERT_FALSE(more.ok()) << change;
      const bool is_gone = change + 1 == changes.size() && !has_begun;
      EXPECT_TRUE(absl::StrContains(more.status().message(),
                                    is_gone ? path : path + " changed while it was read"))
          << change << ": " << more.status();
    }
  }
}

TEST_F(TextSourceTest, ANewlineInAPathIsAnError) {
  std::filesystem::create_directories(Path("in"));
  WriteText("in/a.txt", "text");
  WriteText("in/b\nc.txt", "text");
  for (const char* path : {"in", "in/b\nc.txt"}) {
    const absl::Status status = ReadAll({.paths = {Path(path)}}).status;
    EXPECT_TRUE(absl::StrContains(status.message(), "in/b\\nc.txt\" has a newline")) << status;
  }
  WriteText("in/b\r\x0B.txt", "text");  // which are no ends of a line in a store
  std::filesystem::remove(Path("in/b\nc.txt"));
  EXPECT_EQ(ReadAll({.paths = {Path("in")}}).documents.size(), 2u);
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
