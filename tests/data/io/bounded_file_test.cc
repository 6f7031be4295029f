#include "data/io/bounded_file.h"

#include <sys/stat.h>

#include <thread>

#include "absl/strings/match.h"
#include "data/text/path_list.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

using BoundedFileTest = DataTest;

constexpr FileKind kSmall{"a small file", 10};

TEST_F(BoundedFileTest, ALongFileIsRefusedUnread) {
  EXPECT_EQ(*ReadFileOf(kSmall, WriteText("a", "0123456789")), "0123456789");
  EXPECT_EQ(ReadFileOf(kSmall, WriteText("b", "0123456789a")).status().message(),
            Path("b") + ": it has 11 bytes, and a small file has at most 10; name another file");
  WriteText("c", "");
  std::filesystem::resize_file(Path("c"), int64_t{1} << 40);  // a hole
  EXPECT_TRUE(absl::StrContains(ReadFileOf(kTokenizerFile, Path("c")).status().message(),
                                "it has 1099511627776 bytes, and a file of a tokenizer has"));
}

TEST_F(BoundedFileTest, APipeIsReadUpToTheLimit) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  for (const std::string text : {"0123", "0123456789a"}) {
    std::thread writer([&] { std::ofstream(Path("pipe")) << text; });
    const absl::StatusOr<std::string> read = ReadFileOf(kSmall, Path("pipe"));
    writer.join();
    if (text.size() <= 10) {
      EXPECT_EQ(*read, text);
    } else {
      EXPECT_TRUE(absl::StrContains(read.status().message(), "it has more than 10 bytes"));
    }
  }
}

TEST_F(BoundedFileTest, DevicesAndFoldersAreNoFiles) {
  EXPECT_TRUE(absl::StrContains(ReadFileOf(kSmall, "/dev/zero").status().message(),
                                "/dev/zero: neither a file nor a pipe; expected a small file"));
  EXPECT_TRUE(absl::StrContains(ReadFileOf(kSmall, Path("")).status().message(), "directory"));
  EXPECT_EQ(ReadFileOf(kSmall, Path("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BoundedFileTest, AListOfPathsIsText) {
  EXPECT_EQ(*ReadPathList("@" + WriteText("list", "\uFEFFa.txt\n b.txt \n")),
            (std::vector<std::string>{"a.txt", "b.txt"}));
  const absl::Status binary =
      ReadPathList("@" + WriteText("binary", std::string("a.txt\n\0\x01", 8))).status();
  EXPECT_TRUE(absl::StrContains(binary.message(), "binary: a list of paths is text")) << binary;
}

}  // namespace
}  // namespace wyvern
