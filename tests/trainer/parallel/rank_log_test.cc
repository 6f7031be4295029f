#include "trainer/parallel/rank_log.h"

#include <csignal>
#include <cstring>

#include "kernels/runtime/check.h"
#include "tests/data/data_fixture.h"
#include "trainer/parallel/phase.h"

namespace wyvern {
namespace {

class RankLogTest : public DataTest {};

TEST_F(RankLogTest, WhoNeitherWaitsNorFailedIsNamed) {
  const std::vector<std::string> hosts = {"a", "a", "b", "b"};
  const std::vector<std::string> last = {"fails: mine", "waits: step 3, update: all_reduce",
                                         "step 2: waited 1.0%", ""};
  EXPECT_EQ(
      DescribeOthers(0, /*waits=*/true, hosts, last),
      "suspect (not waiting, not failed): rank 2 (b), whose log ends with 'step 2: waited 1.0%'; "
      "rank 3 (b)");
  // Who was just noticed missing says nothing of those that compute.
  EXPECT_EQ(DescribeOthers(0, /*waits=*/false, hosts, last), "");
  EXPECT_EQ(DescribeOthers(1, /*waits=*/false, hosts, last), "failed before: rank 0 (a): mine");
  std::vector<std::string> many(12, "step 1"), names(12, "h");
  const std::string text = DescribeOthers(0, true, names, many);
  EXPECT_NE(text.find("rank 8 (h)"), std::string::npos) << text;
  EXPECT_NE(text.find("; and 3 more"), std::string::npos) << text;
}

TEST_F(RankLogTest, AFaultIsParsedStrictly) {
  const auto faults = ParseFaults("rank=1, step=5, phase=update, do=kill; rank=0,do=slow:0.25");
  ASSERT_TRUE(faults.ok()) << faults.status();
  ASSERT_EQ(faults->size(), 2u);
  EXPECT_EQ((*faults)[0].rank, 1);
  EXPECT_EQ((*faults)[0].step, 5);
  EXPECT_EQ((*faults)[0].phase, "update");
  EXPECT_EQ((*faults)[0].kind, Fault::Kind::kKill);
  EXPECT_EQ((*faults)[1].step, 0);
  EXPECT_EQ((*faults)[1].phase, "data");
  EXPECT_EQ((*faults)[1].seconds, 0.25);
  for (const char* bad : {"rank=x,do=kill", "rank=1", "do=kill", "rank=1,do=dance", "rank=1,step=0",
                          "rank=1,do=slow:", "rank=1,do=slow:-1", "rank=1,do=kill,why=so"}) {
    EXPECT_FALSE(ParseFaults(bad).ok()) << bad;
  }
  EXPECT_TRUE(ParseFaults("")->empty());
  EXPECT_EQ(ParseFaults("rank=1,phase=backward,do=kill").status().message(),
            "WYVERN_FAULT: 'phase=backward': there is no such phase; there are 'data', 'batch', "
            "'forward and backward', 'update', 'validation', 'checkpoint'");
}

// In a child process.
void FailAsRankOne(const std::string& dir, bool check) {
  struct TwoRanks : public Transport {
    int rank() const override { return 1; }
    int size() const override { return 2; }
    // The other one has this host's name, too.
    void Exchange(const Message& send, const Message& receive, const std::string&) override {
      std::memcpy(receive.data, send.data, std::min(send.num_bytes, receive.num_bytes));
    }
    void Post(const Message&, const std::string&) override { std::abort(); }
    bool Take(const Message&, bool, const std::string&) override { std::abort(); }
  };
  const World world(std::make_unique<TwoRanks>());
  const auto log = RankLog::Open(dir, world);
  CHECK(log.ok());
  CHECK(!check, "the sum of ", 3, " parts");
  std::abort();
}

TEST_F(RankLogTest, TheLastLineIsHowItEnded) {
  const auto last_line = [&] {
    const std::string log = ReadFile(RankLogPath(Path("run"), 1)).value_or("");
    EXPECT_NE(log.find("Z starts: rank 1 of 2 on "), std::string::npos) << log;
    const size_t end = log.rfind('\n', log.size() - 2);
    return log.substr(end + 1);
  };
  EXPECT_EXIT(FailAsRankOne(Path("run"), true), testing::KilledBySignal(SIGABRT), "check failed");
  EXPECT_NE(last_line().find("Z fails: "), std::string::npos) << last_line();
  EXPECT_NE(last_line().find("the sum of 3 parts"), std::string::npos) << last_line();
  EXPECT_EXIT(FailAsRankOne(Path("run"), false), testing::KilledBySignal(SIGABRT), "");
  EXPECT_EQ(last_line(), "fails: ended by signal 06\n");
}

}  // namespace
}  // namespace wyvern
