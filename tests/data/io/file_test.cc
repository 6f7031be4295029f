#include "data/io/file.h"

#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class FileTest : public DataTest {};

TEST_F(FileTest, ReplacesAFileAndLeavesNothingBeside) {
  const std::string path = WriteText("a", "first");
  ASSERT_TRUE(WriteFileAtomically(path, std::string("second\0third", 12)).ok());
  EXPECT_EQ(*ReadFile(path), std::string("second\0third", 12));
  EXPECT_EQ(FilesLeft(), std::vector<std::string>{"a"});
}

TEST_F(FileTest, ErrorsNameThePath) {
  for (const absl::Status& status :
       {ReadFile(Path("none")).status(), WriteFileAtomically(Path("none/a"), "text"),
        SyncPath(Path("none"))}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_TRUE(absl::StrContains(status.message(), Path("none"))) << status;
  }
  EXPECT_FALSE(ReadFile(folder_).ok());
  EXPECT_EQ(ErrnoStatus(ENOSPC, "cannot write", "a").code(), absl::StatusCode::kResourceExhausted);
}

// A limit on file sizes stands in for a full disk.
[[noreturn]] void OverwriteBeyondTheLimit(const std::string& path) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {1 << 16, 1 << 16};
  setrlimit(RLIMIT_FSIZE, &limit);
  std::exit(WriteFileAtomically(path, std::string(1 << 20, 'x')).ok() ? 1 : 7);
}

TEST_F(FileTest, AFailedWriteKeepsTheOldFile) {
  const std::string path = WriteText("a", "old");
  EXPECT_EXIT(OverwriteBeyondTheLimit(path), testing::ExitedWithCode(7), "");
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(FilesLeft(), std::vector<std::string>{"a"});
}

TEST_F(FileTest, PathsAreMadeAbsoluteWhereThatIsPossible) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::create_directory(Path("gone"));
  std::filesystem::current_path(Path("gone"));
  EXPECT_EQ(AbsolutePath("a/../b"), Path("gone/b"));
  EXPECT_EQ(AbsolutePath("/a//b/."), "/a/b/");
  EXPECT_EQ(AbsolutePath(""), "");
  std::filesystem::remove(Path("gone"));
  EXPECT_EQ(AbsolutePath("a/../b"), "b");
  std::filesystem::current_path(before);
}

TEST(Crc32, IsThatOfZlib) {
  EXPECT_EQ(Crc32("123456789", 9), 0xCBF43926u);
  EXPECT_EQ(Crc32("6789", 4, Crc32("12345", 5)), 0xCBF43926u);
  EXPECT_EQ(Crc32(nullptr, 0), 0u);
}

}  // namespace
}  // namespace wyvern
