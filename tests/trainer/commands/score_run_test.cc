// `wyvern score` as a program: standard input, several ranks, the server.
#include <httplib.h>
#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/trainer/run_fixture.h"

namespace wyvern {
namespace {

class ScoreRunTest : public RunTest {
 protected:
  void SetUp() override {
    RunTest::SetUp();
    ASSERT_EQ(Train({"train.steps=1", "schedule.warmup_steps=0"}).exit_code, 0);
  }
  std::string Requests(int count) const {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&lines, R"({"id": )", i, R"(, "context": "delta )", i / 3,
                      R"(", "continuation": " rule )", i, "\"}\n");
    }
    return WriteText("requests.jsonl", lines);
  }
};

TEST_F(ScoreRunTest, ReadsStandardInput) {
  const std::string requests = Requests(3);
  const ProcessResult file = Wyvern({"score", Path("run"), requests});
  ASSERT_EQ(file.exit_code, 0) << file.err;
  const ProcessResult piped = Wait(StartCommand(
      {"/bin/sh", "-c", absl::StrCat("cat ", requests, " | ", Binary(), " score ", Path("run"))}));
  ASSERT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(piped.out, file.out);
}

TEST_F(ScoreRunTest, RanksAnswerAsOneDoes) {
  const std::string requests = Requests(50);
  const ProcessResult one = Wyvern({"score", Path("run"), requests});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const ProcessResult two = Wait(Start({"score", Path("run"), requests}, 2));
  ASSERT_EQ(two.exit_code, 0) << two.err;
  const std::vector<std::string> lines = absl::StrSplit(one.out, '\n', absl::SkipEmpty());
  const std::vector<std::string> of_two = absl::StrSplit(two.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 50u);
  ASSERT_EQ(of_two.size(), 50u) << two.out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto a = nlohmann::json::parse(lines[i]), b = nlohmann::json::parse(of_two[i]);
    EXPECT_EQ(b["id"], i);
    EXPECT_EQ(b["is_greedy"], a["is_greedy"]);
    EXPECT_NEAR(b["log_likelihood"].get<double>(), a["log_likelihood"].get<double>(), 1e-4);
  }
  const std::string bad = WriteText("bad.jsonl", "{}\n");
  const ProcessResult failed = Wait(Start({"score", Path("run"), bad}, 2));
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(failed.err, "bad.jsonl:1: expected the keys")) << failed.err;
}

TEST_F(ScoreRunTest, ServesUntilItIsStopped) {
  const Process server = Start({"score", Path("run"), "--serve", "--port", "0"});
  ASSERT_TRUE(WaitUntil(server, [&] { return absl::EndsWith(Read(server.out), "/v1\n"); }))
      << Read(server.err);
  const std::vector<std::string> parts = absl::StrSplit(Read(server.out), absl::ByAnyChar(":/"));
  httplib::Client client("127.0.0.1", std::stoi(parts[parts.size() - 2]));
  const httplib::Result result =
      client.Post("/v1/completions", R"({"prompt": "delta", "max_tokens": 2})", "application/json");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 200) << result->body;
  kill(server.pid, SIGTERM);
  client.stop();
  const ProcessResult stopped = Wait(server);
  EXPECT_EQ(stopped.exit_code, 0) << stopped.err;
  EXPECT_TRUE(absl::StrContains(stopped.out, "stopped by SIGTERM")) << stopped.out;
}

}  // namespace
}  // namespace wyvern
