#include "kernels/comm/rendezvous/file_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

TEST(FileLimit, IsRaisedForTheSocketsOfManyRanks) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const auto soft_limit = [] {
    rlimit now = {};
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
    return now.rlim_cur;
  };
  const rlimit low = {300, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  // Enough stays as it is.
  EXPECT_TRUE(AllowSocketsOf(8).ok());
  EXPECT_EQ(soft_limit(), 300u);
  EXPECT_TRUE(AllowSocketsOf(256).ok());
  EXPECT_EQ(soft_limit(), 512u);
  if (before.rlim_max != RLIM_INFINITY) {
    const auto too_many = static_cast<int64_t>(before.rlim_max);
    const absl::Status status = AllowSocketsOf(too_many);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(status.message().find(absl::StrCat(
                  "a run of ", too_many, " ranks over TCP needs ", too_many + 256,
                  " open files a rank, and the limit is ", too_many, "; raise it (ulimit -n")),
              std::string::npos)
        << status;
    EXPECT_EQ(soft_limit(), 512u);
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace wyvern
