#include "trainer/report/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "tests/data/data_fixture.h"

namespace wyvern {
namespace {

class LogFileTest : public DataTest {};

TEST_F(LogFileTest, AFullDiskIsWaitedFor) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  const int good = open(Path("log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  ASSERT_GE(good, 0);
  const int fd = dup(full);
  LogFile log("log", fd);
  EXPECT_TRUE(log.Append("one\n").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(log.Sync()));
  EXPECT_TRUE(log.Append("two\n").ok());
  ASSERT_EQ(dup2(good, fd), fd);
  EXPECT_TRUE(log.Append("three\n").ok());
  EXPECT_TRUE(log.Sync().ok());
  EXPECT_EQ(*ReadFile(Path("log")), "one\ntwo\nthree\n");

  ASSERT_EQ(dup2(full, fd), fd);
  EXPECT_TRUE(log.Append("four\n").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(log.Append(std::string(LogFile::kMaxKept, 'x'))));
  ASSERT_EQ(dup2(open(Path("log").c_str(), O_RDONLY), fd), fd);
  EXPECT_FALSE(log.Append("five\n").ok());  // another error is one at once
  close(full);
  close(good);
}

}  // namespace
}  // namespace wyvern
