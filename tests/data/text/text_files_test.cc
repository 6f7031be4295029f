#include "data/text/text_files.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

class TextFilesTest : public DataTest {
 protected:
  std::string Put(const std::string& name, const std::string& content = "some text") {
    fs::create_directories(fs::path(Path(name)).parent_path());
    return WriteText(name, content);
  }
  // The names below the test's folder, or the error.
  std::string Find(const std::vector<std::string>& names) {
    std::vector<std::string> paths;
    for (const std::string& name : names) {
      paths.push_back(name[0] == '@' ? "@" + Path(name.substr(1)) : Path(name));
    }
    const auto found = FindTextFiles(paths, "text");
    if (!found.ok()) return std::string(found.status().message());
    notes_ = absl::StrJoin(found->notes, "\n");
    return absl::StrJoin(found->paths, " ", [this](std::string* out, const std::string& path) {
      absl::StrAppend(out, path.substr(folder_.size() + 1));
    });
  }

  std::string notes_;
};

TEST_F(TextFilesTest, EveryNameOfTextIsFoundAndTheRestCounted) {
  for (const char* name : {"in/a.txt", "in/b.MD", "in/c.jsonl.gz", "in/d.json.zst", "in/e.ndjson",
                           "in/f/g.jsonl.txt", "in/h.TXT.bz2"}) {
    Put(name);
  }
  Put("in/i.snappy.PARQUET");
  for (const char* name : {"in/x.arrow", "in/y.arrow", "in/z.py", "in/Makefile", "in/.hidden.txt",
                           "in/.git/config.txt", "in/.ipynb_checkpoints/a.txt"}) {
    Put(name);
  }
  EXPECT_EQ(Find({"in"}),
            "in/a.txt in/b.MD in/c.jsonl.gz in/d.json.zst in/e.ndjson in/f/g.jsonl.txt "
            "in/h.TXT.bz2 in/i.snappy.PARQUET");
  for (const char* part : {"2 .arrow (x.arrow, y.arrow)", "1 .py (z.py)",
                           "1 without an ending, not JSON lines with 'text' (Makefile)",
                           "3 hidden (.git, .hidden.txt, .ipynb_checkpoints)"}) {
    EXPECT_TRUE(absl::StrContains(notes_, part)) << part << ": " << notes_;
  }
  // A file named itself may end in anything.
  EXPECT_EQ(Find({"in/x.arrow", "in/.hidden.txt"}), "in/x.arrow in/.hidden.txt");
}

TEST_F(TextFilesTest, AListNamesFilesAndFolders) {
  for (const char* name : {"in/b.txt", "in/a.txt", "c.jsonl"}) Put(name);
  Put("list.txt", absl::StrCat("# the corpus\r\n\n", Path("c.jsonl"), "\r\n  ", Path("in"), "\n"));
  EXPECT_EQ(Find({"@list.txt"}), "c.jsonl in/a.txt in/b.txt");
  EXPECT_EQ(Find({"in/b.txt", "@list.txt"}), "in/b.txt c.jsonl in/a.txt");
  Put("gone.txt", Path("nothing.txt"));
  Put("empty.txt", "\n# none\n");
  Put("nested.txt", "@other");
  EXPECT_TRUE(absl::StrContains(Find({"@gone.txt"}), "gone.txt: it lists ")) << Find({"@gone.txt"});
  EXPECT_TRUE(absl::StrContains(Find({"@empty.txt"}), "no path in this list"));
  EXPECT_TRUE(absl::StrContains(Find({"@nested.txt"}), "nested.txt:1: a list in a list"));
  EXPECT_TRUE(absl::StrContains(Find({"@none.txt"}), "none.txt"));
}

TEST_F(TextFilesTest, FilesAboutTheDataAreNoData) {
  for (const char* name : {"hub/README.md", "hub/LICENSE.txt", "hub/dataset_infos.json",
                           "hub/data/train-0.json.gz", "hub/data/README.txt"}) {
    Put(name);
  }
  Put("hub/config.json", "{\n  \"a\": 1\n}\n");
  EXPECT_EQ(Find({"hub"}), "hub/data/train-0.json.gz");
  for (const char* part : {"README.md", "LICENSE.txt", "dataset_infos.json", "config.json"}) {
    EXPECT_TRUE(absl::StrContains(notes_, part)) << part << ": " << notes_;
  }
  Put("arrow/README.md");
  Put("arrow/train.arrow");
  const std::string error = Find({"arrow"});
  EXPECT_TRUE(absl::StrContains(error, "no text in this folder")) << error;
  EXPECT_TRUE(absl::StrContains(error, "1 .arrow")) << error;
  EXPECT_TRUE(absl::StrContains(error, "make Parquet of each .arrow file first")) << error;
  EXPECT_TRUE(absl::StrContains(error, "1 about the data (README.md)")) << error;
  Put("docs/readme.md");
  EXPECT_EQ(Find({"docs"}), "docs/readme.md");
  Put("readmes/readmes.txt");
  Put("readmes/b.txt");
  EXPECT_EQ(Find({"readmes"}), "readmes/b.txt readmes/readmes.txt");
}

TEST_F(TextFilesTest, DataMayBeCalledLikeFilesAboutIt) {
  for (const char* name : {"in/authors.jsonl", "in/notice-board.jsonl.gz", "in/changes.json",
                           "in/license_texts.ndjson", "in/citation.jsonl.00001"}) {
    Put(name);
  }
  Put("in/authors-00000", "{\"text\": \"a\"}\n");
  Put("in/AUTHORS.txt");
  EXPECT_EQ(Find({"in"}),
            "in/authors-00000 in/authors.jsonl in/changes.json in/citation.jsonl.00001 "
            "in/license_texts.ndjson in/notice-board.jsonl.gz");
  EXPECT_TRUE(absl::StrContains(notes_, "1 about the data (AUTHORS.txt)")) << notes_;
}

TEST_F(TextFilesTest, AShardThatCannotBeReadIsAnError) {
  Put("in/a.txt");
  for (const std::string& content : {std::string("\x1F\x8B\x08\0\0\0\0\0\0\3cut", 13),
                                     std::string("\x28\xB5\x2F\xFD damaged")}) {
    Put("in/part-00000", content);
    const std::string error = Find({"in"});
    EXPECT_TRUE(absl::StrContains(error, "in/part-00000: ")) << error;
  }
  Put("in/part-00000", "{\"text\": NaN}\n{\"text\": \"a\"}\n");  // whose error is the reader's
  EXPECT_EQ(Find({"in"}), "in/a.txt in/part-00000");
  Put("in/part-00000.gz", "");
  fs::remove(Path("in/part-00000"));
  EXPECT_TRUE(absl::StrContains(Find({"in"}), "in/part-00000.gz: the name says gzip"));
}

TEST_F(TextFilesTest, ShardsAreKnownByTheirContent) {
  Put("in/part-00000", "{\"text\": \"a\"}\n");
  Put("in/wiki_00", "{\"id\": 1, \"text\": \"a\"}\n");
  Put("in/c4.00001-of-00002", "{\"text\": \"a\"}\n");
  Put("in/_SUCCESS", "");
  Put("in/other", "{\"body\": \"a\"}\n");
  Put("in/x.csv", "{\"text\": \"a\"}\n");
  EXPECT_EQ(Find({"in"}), "in/c4.00001-of-00002 in/part-00000 in/wiki_00");
  EXPECT_TRUE(absl::StrContains(notes_, "2 without an ending")) << notes_;
}

TEST_F(TextFilesTest, LinksAreFollowedOnce) {
  Put("store/part2/x.jsonl");
  Put("store/y.jsonl");
  Put("mix/part1.jsonl");
  fs::create_symlink(Path("store/part2"), Path("mix/part2"));
  fs::create_symlink(Path("store/y.jsonl"), Path("mix/y.jsonl"));
  fs::create_symlink(Path("mix"), Path("mix/loop"));
  fs::create_symlink("..", Path("mix/up"));
  const std::string found = Find({"mix"});
  EXPECT_EQ(found, "mix/part1.jsonl mix/part2/x.jsonl mix/up/store/y.jsonl");
  EXPECT_TRUE(absl::StrContains(notes_, "1 file is reached by several names")) << notes_;
  fs::remove(Path("mix/up"));
  EXPECT_EQ(Find({"mix"}), "mix/part1.jsonl mix/part2/x.jsonl mix/y.jsonl");
  EXPECT_EQ(notes_, "");
  EXPECT_EQ(Find({"mix", "mix/part1.jsonl", "store"}),
            "mix/part1.jsonl mix/part2/x.jsonl mix/y.jsonl");
  EXPECT_TRUE(absl::StrContains(notes_, "3 files are reached by several names")) << notes_;
}

TEST_F(TextFilesTest, LinksToNothingAreErrors) {
  Put("in/a.txt");
  for (const char* target : {"/not/there", "b.txt"}) {
    fs::create_symlink(target, Path("in/b.txt"));
    const std::string error = Find({"in"});
    EXPECT_TRUE(absl::StrContains(error, "in/b.txt: a link to nothing")) << error;
    fs::remove(Path("in/b.txt"));
  }
  EXPECT_TRUE(absl::StrContains(Find({"none"}), "none"));
}

}  // namespace
}  // namespace wyvern
