#include "data/io/output.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/lock_holder.h"
#include "tests/data/data_fixture.h"

// While it is not 0, flock fails with it: a file system without locks, for the HDF5 library too.
static int g_flock_error = 0;

extern "C" int flock(int fd, int operation) {
  if (g_flock_error != 0) {
    errno = g_flock_error;
    return -1;
  }
  return static_cast<int>(syscall(SYS_flock, fd, operation));
}

namespace wyvern {
namespace {

class OutputTest : public DataTest, public testing::WithParamInterface<int> {
 protected:
  OutputTest() { g_flock_error = GetParam(); }
  ~OutputTest() override { g_flock_error = 0; }

  // In a process that has ended, without a destructor, when this returns.
  template <typename Work>
  static void InKilledProcess(const Work& work) {
    const pid_t pid = fork();
    if (pid == 0) {
      work();
      _exit(0);
    }
    waitpid(pid, nullptr, 0);
  }
};

TEST_P(OutputTest, AppearsWholeAndLeavesNothingBeside) {
  absl::StatusOr<Output> output = Output::Claim(Path("a"));
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(absl::StartsWith(output->temporary(), Path("a.tmp-")));
  std::ofstream(output->temporary()) << "whole";
  EXPECT_FALSE(std::filesystem::exists(Path("a")));
  ASSERT_TRUE(output->Commit().ok());
  EXPECT_EQ(*ReadFile(Path("a")), "whole");
  EXPECT_EQ(FilesLeft(), std::vector<std::string>{"a"});
}

TEST_P(OutputTest, WhatIsNotCommittedGoes) {
  {
    const absl::StatusOr<Output> file = Output::Claim(Path("a"));
    const absl::StatusOr<Output> folder = Output::Claim(Path("b/"));
    ASSERT_TRUE(file.ok() && folder.ok());
    std::ofstream(file->temporary()) << "half";
    ASSERT_TRUE(MakeFolders(folder->temporary() + "/deep").ok());
  }
  EXPECT_TRUE(FilesLeft().empty());
}

TEST_P(OutputTest, TheSecondWriterIsRefusedAndTheFirstNamed) {
  const absl::StatusOr<Output> first = Output::Claim(Path("a"));
  ASSERT_TRUE(first.ok());
  std::ofstream(first->temporary()) << "the first one's";
  const absl::Status second = Output::Claim(Path("a")).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kAborted);
  const LockHolder self = LockHolder::Self();
  for (const std::string& part :
       {Path("a"), absl::StrCat("process ", getpid(), " on ", self.host), self.command}) {
    EXPECT_TRUE(absl::StrContains(second.message(), part)) << part << ": " << second;
  }
  EXPECT_TRUE(std::filesystem::exists(first->temporary()));
  EXPECT_TRUE(Output::Claim(Path("b")).ok());
}

TEST_P(OutputTest, TheNextWriterRemovesWhatDeadOnesLeft) {
  InKilledProcess([&] {
    const absl::StatusOr<Output> output = Output::Claim(Path("a"));
    std::ofstream(output->temporary()) << "half";
    const absl::StatusOr<Output> folder = Output::Claim(Path("b"));
    MakeFolders(folder->temporary()).IgnoreError();
    _exit(0);
  });
  ASSERT_EQ(FilesLeft().size(), 4u);
  // As earlier versions named them; 4194305 is above every process's number.
  std::ofstream(Path("a.tmp-4194305")) << "half";
  std::filesystem::create_directories(Path("b.tmp-4194305/deep"));
  // Not ours.
  for (const char* name : {"a.tmp-mine", "a.tmp-", "aa.tmp-4194305", ".a.tmp-1"}) {
    std::ofstream(Path(name)) << "kept";
  }
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "whole").ok());
  ASSERT_TRUE(Output::Claim(Path("b")).ok());
  std::vector<std::string> left = FilesLeft();
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left,
            (std::vector<std::string>{".a.tmp-1", "a", "a.tmp-", "a.tmp-mine", "aa.tmp-4194305"}));
}

TEST_P(OutputTest, ALiveWriterKeepsItsTemporaryFile) {
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready) | pipe(done), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    absl::StatusOr<Output> output = Output::Claim(Path("a"));
    std::ofstream(output->temporary()) << "whole";
    char byte = 1;
    (void)!write(ready[1], &byte, 1);
    (void)!read(done[0], &byte, 1);
    _exit(output->Commit().ok() ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const absl::Status refused = Output::Claim(Path("a")).status();
  EXPECT_TRUE(absl::StrContains(refused.message(), absl::StrCat("process ", pid))) << refused;
  ASSERT_EQ(write(done[1], &byte, 1), 1);
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(*ReadFile(Path("a")), "whole");
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
}

TEST_P(OutputTest, AWriterMayWaitForAnother) {
  const pid_t pid = fork();
  if (pid == 0) {
    const absl::StatusOr<Output> output = Output::Claim(Path("a"));
    std::ofstream(Path("claimed")) << "yes";
    usleep(50'000);
    _exit(output.ok() ? 0 : 1);
  }
  while (!std::filesystem::exists(Path("claimed"))) usleep(1000);
  EXPECT_TRUE(Output::Claim(Path("a"), 30).ok());
  waitpid(pid, nullptr, 0);
}

TEST_P(OutputTest, WhatCannotBeReplacedIsRefused) {
  EXPECT_EQ(Output::Claim("/dev/null").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Output::Claim("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Output::Claim(Path("none/a")).status().code(), absl::StatusCode::kNotFound);
  // A file of the user's that has a lock's name.
  std::ofstream(Path(".a.lock")) << "precious";
  if (GetParam() == 0) {
    EXPECT_FALSE(Output::Claim(Path("a")).ok());
  }
  EXPECT_EQ(*ReadFile(Path(".a.lock")), "precious");
}

TEST_P(OutputTest, StoresAreWrittenAndRead) {
  const std::string store = WriteStore("a.h5", {{1, 2, 3}});
  EXPECT_TRUE(TokenStore::Open(store).ok());
  EXPECT_EQ(FilesLeft(), std::vector<std::string>{"a.h5"});
}

INSTANTIATE_TEST_SUITE_P(FlockFailsWith, OutputTest, testing::Values(0, 38, 37, 95, 524));

// On a file system without locks, what another host holds stays until someone says that it is gone.
TEST_F(DataTest, AnOwnerElsewhereIsNamedWithWhatToDelete) {
  g_flock_error = ENOLCK;
  LockHolder other = LockHolder::Self();
  other.host = "node7";
  const std::string link = Path(".a.lock.owner");
  std::filesystem::create_symlink(other.Text(), link);
  const absl::Status refused = Output::Claim(Path("a")).status();
  EXPECT_TRUE(absl::StrContains(refused.message(), "on node7")) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), absl::StrCat("delete ", link))) << refused;
  std::filesystem::remove(link);
  EXPECT_TRUE(Output::Claim(Path("a")).ok());
  g_flock_error = 0;
}

TEST(LockHolder, TellsTheLivingFromTheDead) {
  LockHolder holder = LockHolder::Self();
  EXPECT_EQ(holder.life(), LockHolder::Life::kAlive);
  EXPECT_EQ(LockHolder::Parse(holder.Text())->Text(), holder.Text());
  EXPECT_FALSE(LockHolder::Parse("something else").has_value());
  ++holder.start_ticks;  // the number is another process's by now
  EXPECT_EQ(holder.life(), LockHolder::Life::kDead);
  holder.pid_namespace = "pid:[1]";
  EXPECT_EQ(holder.life(), LockHolder::Life::kUnknown);
}

// Its writer was killed within the write.
TEST_F(DataTest, ATornLockIsFree) {
  const std::string text = LockHolder::Self().Text();
  for (const size_t size : {size_t{0}, size_t{3}, size_t{11}, text.size() / 2}) {
    std::ofstream(Path(".a.lock")) << text.substr(0, size);
    EXPECT_TRUE(Output::Claim(Path("a")).ok()) << size;
    EXPECT_TRUE(FilesLeft().empty());
  }
}

}  // namespace
}  // namespace wyvern
