#include "data/store/preparation.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "data/io/json.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

class PreparationTest : public DataTest {
 protected:
  void SetUp() override {
    fs::create_directories(Path("text"));
    WriteText("text/a.txt", "one\n\ntwo\n\nthree");
    WriteText("text/b.txt", "four\n\nfive");
    Prepare();
  }

  PrepareOptions Options() const {
    PrepareOptions options;
    options.source.paths = {Path("text")};
    options.source.document_separator = "\n\n";
    options.output_dir = Path("out");
    options.val_documents = 1;
    options.num_threads = 1;
    options.progress = false;
    return options;
  }
  void Prepare() {
    const auto result = PrepareStore(Options());
    ASSERT_TRUE(result.ok()) << result.status();
  }
  // The answer of CheckPrepared: its error, its notes or nothing.
  std::string Check(const PrepareOptions& options) {
    std::vector<std::string> notes;
    const absl::Status status = CheckPrepared(options, *MakeByteTokenizer(), &notes);
    return status.ok() ? absl::StrJoin(notes, "\n") : std::string(status.message());
  }
  std::string Check() { return Check(Options()); }

  // Lets the files' changes be so old that their times are trusted.
  void Settle() {
    auto prepared = *ReadJsonFile(Path("out/prepared.json"));
    prepared["stamps"] = nlohmann::json::array();
    for (const char* name : {"text/a.txt", "text/b.txt"}) {
      const FileStamp stamp = *StampOf(Path(name));
      prepared["stamps"].push_back({{"bytes", stamp.bytes},
                                    {"inode", stamp.inode},
                                    {"modified_ns", stamp.modified_ns},
                                    {"changed_ns", stamp.changed_ns}});
    }
    WriteText("out/prepared.json", JsonText(prepared));
  }
  static void SetModified(const std::string& path, int64_t nanoseconds) {
    const timespec times[2] = {{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000},
                               {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
};

TEST_F(PreparationTest, WhatIsLeftOutIsAnOptionWithACount) {
  const std::string before = *ReadStorePreparation(Path("out/train.h5"));
  EXPECT_FALSE(absl::StrContains(before, "left_out") || absl::StrContains(before, "dedup") ||
               absl::StrContains(before, "on_error"));
  PrepareOptions options = Options();
  options.source.dedup = Dedup::kExact;
  options.source.on_error = OnError::kSkip;
  EXPECT_TRUE(absl::StrContains(Check(options), "made with none, not \"exact\"")) << Check(options);
  WriteText("text/b.txt", "four\n\none\n\nf\xFFve");
  const auto result = PrepareStore(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->train_documents + result->val_documents, 4);
  EXPECT_EQ(Check(options), "");
  const auto made = ParseJson(*ReadStorePreparation(Path("out/train.h5")), "");
  EXPECT_EQ((*made)["left_out"].dump(), "{\"damaged_records\":1,\"duplicates\":1}");
}

TEST_F(PreparationTest, TheSameTextIsTheSame) {
  EXPECT_EQ(Check(), "");
  fs::remove(Path("out/prepared.json"));
  EXPECT_EQ(Check(), "");
  EXPECT_TRUE(fs::exists(Path("out/prepared.json")));  // for the next start
  Settle();
  EXPECT_EQ(Check(), "");
  SetModified(Path("text/a.txt"), 1'000'000'000);  // touched
  EXPECT_EQ(Check(), "");
  fs::copy(Path("text"), Path("copy"));  // moved
  PrepareOptions options = Options();
  options.source.paths = {Path("copy")};
  EXPECT_EQ(Check(options), "");
}

TEST_F(PreparationTest, ChangedTextOfEqualSizeIsNoticed) {
  Settle();
  const FileStamp before = *StampOf(Path("text/a.txt"));
  std::ofstream(Path("text/a.txt")) << "one\n\nTWO\n\nthree";  // in place
  const std::string error = Check();
  EXPECT_TRUE(absl::StrContains(error, "text/a.txt has changed")) << error;
  EXPECT_TRUE(absl::StrContains(error, "was made in another way")) << error;
  SetModified(Path("text/a.txt"), before.modified_ns);  // as rsync -t and cp -p leave it
  EXPECT_TRUE(absl::StrContains(Check(), "text/a.txt has changed")) << Check();
  std::ofstream(Path("text/a.txt")) << "one\n\ntwo\n\nthree";
  EXPECT_EQ(Check(), "");
  // Two files under each other's names.
  WriteText("text/a.txt", "four\n\nfive");
  WriteText("text/b.txt", "one\n\ntwo\n\nthree");
  EXPECT_TRUE(absl::StrContains(Check(), "text/a.txt has changed"));
}

TEST_F(PreparationTest, FilesAndOptionsAreCompared) {
  PrepareOptions options = Options();
  options.source.document_separator = "\n";
  EXPECT_TRUE(absl::StrContains(Check(options), "document_separator")) << Check(options);
  options = Options();
  options.val_documents = 0;
  EXPECT_TRUE(absl::StrContains(Check(options), "val_documents")) << Check(options);
  options = Options();
  options.source.invalid_utf8 = InvalidUtf8::kReplace;
  EXPECT_TRUE(absl::StrContains(Check(options), "invalid_utf8")) << Check(options);
  options = Options();
  options.val_fraction = 0.5;  // of no effect
  EXPECT_EQ(Check(options), "");
  WriteText("text/c.txt", "six");
  EXPECT_TRUE(absl::StrContains(Check(), "\"c.txt\"")) << Check();
  fs::remove(Path("text/c.txt"));
  fs::remove(Path("text/b.txt"));
  EXPECT_TRUE(absl::StrContains(Check(), "\"b.txt\"")) << Check();
}

TEST_F(PreparationTest, StoresOutliveTheirText) {
  fs::remove_all(Path("text"));
  EXPECT_TRUE(absl::StrContains(Check(), "is used as it is")) << Check();
}

TEST_F(PreparationTest, AMissingFileHidesNoChangeOfTheOthers) {
  PrepareOptions options = Options();
  options.source.paths = {Path("text/a.txt"), Path("more"), Path("text/b.txt")};
  fs::create_directories(Path("more"));
  WriteText("more/c.txt", "six");
  WriteText("more/d.txt", "seven");
  fs::remove_all(Path("out"));
  ASSERT_TRUE(PrepareStore(options).ok());
  EXPECT_EQ(Check(options), "");
  const auto is_used_without = [&](const std::string& name) {
    const std::string said = Check(options);
    EXPECT_TRUE(absl::StrContains(said, "no text (any more) at " + Path(name))) << said;
    EXPECT_TRUE(absl::StrContains(said, "is used as it is")) << said;
    std::ofstream(Path("text/b.txt")) << "four\n\nFIVE";
    EXPECT_TRUE(absl::StrContains(Check(options), "text/b.txt has changed")) << Check(options);
    std::ofstream(Path("text/b.txt")) << "four\n\nfive";
  };
  fs::remove(Path("more/d.txt"));
  EXPECT_TRUE(absl::StrContains(Check(options), "\"d.txt\", not \"b.txt\"")) << Check(options);
  fs::create_symlink("/not/there", Path("more/d.txt"));
  is_used_without("more/d.txt");
  fs::remove_all(Path("more"));
  is_used_without("more");
  options.source.paths[1] = Path("text/a.txt");  // read once, so that no file of `more` is wanted
  EXPECT_TRUE(absl::StrContains(Check(options), "\"c.txt\", not \"b.txt\"")) << Check(options);
  options.source.paths[1] = Path("more");
  fs::remove(Path("text/a.txt"));
  is_used_without("more, " + Path("text/a.txt"));
  options.source.document_separator = "\n";
  EXPECT_TRUE(absl::StrContains(Check(options), "document_separator")) << Check(options);
  options.source.document_separator = "\n\n";
  fs::remove(Path("text/b.txt"));
  EXPECT_TRUE(absl::StrContains(Check(options), "is used as it is")) << Check(options);
}

TEST_F(PreparationTest, APreparedFileOfOtherStoresIsNotBelieved) {
  for (const char* content :
       {"", "[1", "[]", "{\"stamps\": 5}", "{\"preparation_id\": [], \"a\": 1}"}) {
    WriteText("out/prepared.json", content);
    EXPECT_EQ(Check(), "") << content;
    std::ofstream(Path("text/a.txt")) << "one\n\nTWO\n\nthree";
    WriteText("out/prepared.json", content);
    EXPECT_TRUE(absl::StrContains(Check(), "has changed")) << content;
    std::ofstream(Path("text/a.txt")) << "one\n\ntwo\n\nthree";
  }
}

TEST_F(PreparationTest, StoresOfEarlierVersionsAreComparedAsTheyWere) {
  fs::remove(Path("out/train.h5"));
  WriteStore("out/train.h5", {{1, 2, 3}});  // says nothing of its making
  fs::remove(Path("out/prepared.json"));
  EXPECT_EQ(Check(), "");
  nlohmann::json earlier = {{"files", {"a.txt", "b.txt"}},
                            {"text_bytes", 25},
                            {"field", "text"},
                            {"document_separator", "\n\n"},
                            {"val_fraction", 0.01},
                            {"val_documents", 1},
                            {"tokenizer", MakeByteTokenizer()->hash()}};
  WriteText("out/prepared.json", JsonText(earlier));
  EXPECT_EQ(Check(), "");
  earlier["text_bytes"] = 26;
  WriteText("out/prepared.json", JsonText(earlier));
  EXPECT_TRUE(absl::StrContains(Check(), "text_bytes")) << Check();
}

TEST_F(PreparationTest, NamesNeedNotBeUtf8) {
  WriteText("text/caf\xE9.txt", "six");
  fs::remove_all(Path("out"));
  Prepare();
  EXPECT_EQ(Check(), "");
}

}  // namespace
}  // namespace wyvern
