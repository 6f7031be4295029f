// wyvern verify, and that each of its checks can fail.
#include <filesystem>
#include <limits>

#include "absl/strings/match.h"
#include "data/io/json.h"
#include "tests/trainer/run_fixture.h"
#include "tests/trainer/saved_model.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/verify/card.h"
#include "trainer/verify/check_exports.h"
#include "trainer/verify/check_numbers.h"
#include "trainer/verify/check_resume.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

class VerifyTest : public RunTest {
 protected:
  // The tiny recipe of one mixer, which a family can hold.
  ProcessResult Verify(const std::vector<std::string>& more) {
    std::vector<std::string> args = {"verify", Path("config.yaml"), "--output", Path("card")};
    args.insert(args.end(), more.begin(), more.end());
    return Wyvern(args);
  }
  // The checkpoint of a tiny model.
  std::string Saved(const std::string& run, uint64_t seed) {
    const std::unique_ptr<Model> model = TinyModel(50, seed);
    EXPECT_TRUE(SaveRun(Path(run), 1, {model.get()}).ok());
    return CheckpointFolder(Path(run), 1);
  }
};

TEST_F(VerifyTest, WritesTheCardOfARecipe) {
  for (int time = 0; time < 2; ++time) {  // the second replaces the first
    const ProcessResult result =
        Verify({"--tokens", "40", "--set", "model.pattern=[gdn]", "evaluation.every=3",
                "evaluation.tasks=[none.yaml]"});  // which is not read
    ASSERT_EQ(result.exit_code, 0) << result.err << result.out;
    EXPECT_TRUE(absl::StrContains(result.out, "Everything that was checked passed."));
  }
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(Path("card"))) {
    files.insert(entry.path().filename());
  }
  EXPECT_EQ(files, (std::set<std::string>{"card.json", "card.md"}));
  const nlohmann::json card = *ReadJsonFile(Path("card/card.json"));
  EXPECT_EQ(card["passed"], true);
  const auto fact = [&](const std::string& name) -> std::string {
    for (const nlohmann::json& pair : card["facts"]) {
      if (pair[0] == name) return pair[1];
    }
    return "";
  };
  EXPECT_EQ(fact("layers"), "3 gdn");
  EXPECT_EQ(fact("precision"), "fp32");
  ASSERT_EQ(card["resume"].size(), 2u);
  EXPECT_EQ(card["resume"][1]["from_step"], 6);
  EXPECT_EQ(card["resume"][1]["losses"], 3);
  // Weights and two moments of each.
  EXPECT_GT(card["resume"][1]["tensors"], 3 * 30);
  int held = 0;
  for (const nlohmann::json& row : card["exports"]) {
    if (row.contains("cannot_hold_it")) continue;
    EXPECT_EQ(row["passed"], true) << row;
    held += row["family"] == "gated_deltanet" ? 1 : 0;
  }
  EXPECT_EQ(held, 1);
  EXPECT_EQ(card["numbers"]["tokens"], 32) << "a sample is no longer";
  EXPECT_GT(card["numbers"]["least_cosine"], 0.999999);
  EXPECT_GT(card["numbers"]["errors"].size(), 30u);
  EXPECT_EQ(card["speed"]["seq_len"], 32);
  EXPECT_GT(card["speed"]["tokens_per_s"], 0);
}

TEST_F(VerifyTest, RefusesWhatItCannotDo) {
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  const ProcessResult of_mpi = Verify({});
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(of_mpi.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(of_mpi.err, "verify: it runs as one process")) << of_mpi.err;
  fs::create_directory(Path("card"));
  WriteText("card/mine.txt", "");
  const ProcessResult occupied = Verify({});
  EXPECT_EQ(occupied.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(occupied.err, "/card: it holds other things than a card"))
      << occupied.err;
  EXPECT_TRUE(fs::exists(Path("card/mine.txt")));
  fs::remove_all(Path("card"));
  fs::create_directory(Path("card"));
  for (const char* text : {"{}", "[1]", R"({"name": "a", "facts": 3})", R"({"resume": "x"})"}) {
    WriteText("card/card.json", text);
    const ProcessResult hostile = Verify({"--only", "speed"});
    EXPECT_EQ(hostile.exit_code, 1);
    EXPECT_TRUE(absl::StrContains(hostile.err, "card.json: it is no card of this version"))
        << text << ": " << hostile.err;
  }
  fs::remove_all(Path("card"));
  const ProcessResult small = Verify({"--only", "resume", "--set", "model.vocab_size=100",
                                      "tokenizer.type=store", "data.sources=[{dir: none}]"});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(small.err, "model.vocab_size: 100; the documents")) << small.err;
  EXPECT_TRUE(absl::StrContains(small.err, "has 258; set it to that")) << small.err;
  EXPECT_FALSE(fs::exists(Path("card")));
  const ProcessResult failing =
      Verify({"--only", "resume", "--set", "train.nonfinite=stop", "schedule.peak=1e30"});
  EXPECT_EQ(failing.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(failing.err, "the run from its initial weights ended with 1"))
      << failing.err;
  EXPECT_FALSE(fs::exists(Path("card")));
}

TEST_F(VerifyTest, TensorsOfOtherBitsAreNamed) {
  const std::string one = Saved("one", 1), same = Saved("same", 1), other = Saved("other", 2);
  EXPECT_TRUE(DifferentTensors(one, same)->empty());
  const std::vector<std::string> different = *DifferentTensors(one, other);
  EXPECT_NE(std::find(different.begin(), different.end(), "model/blocks.0.mixer.q_proj.weight"),
            different.end());
  const ResumeCheck check = {.num_tensors = 9, .num_losses = 1, .different = different};
  EXPECT_FALSE(check.passed());
  EXPECT_FALSE((ResumeCheck{.num_tensors = 9}.passed())) << "no loss was compared";
}

// Two documents of 5 and 12 tokens.
Batch TwoDocuments() {
  Batch batch = {.cu_seqlens = {0, 5, 17}};
  for (int i = 0; i < 17; ++i) {
    batch.tokens.push_back((i * 7 + 3) % 50);
    batch.targets.push_back(i == 4 || i == 16 ? kIgnoredTarget : (i * 7 + 10) % 50);
  }
  return batch;
}

TEST_F(VerifyTest, LimitsInBf16AreMeasuredForEachGradient) {
  const NumbersCheck check =
      *CheckNumbers(Saved("one", 1), Device::kCpu, DType::kBf16, TwoDocuments());
  EXPECT_EQ(check.reference, "fp32 on the CPU");
  size_t lost = 0;  // in the rounding of bf16
  for (const NumbersCheck::Row& row : check.rows) {
    EXPECT_TRUE(row.passed()) << row.quantity << " " << row.error << " " << row.limit;
    EXPECT_LT(row.limit, 0.5) << row.quantity;
    if (absl::EndsWith(row.quantity, ", in fp32")) {
      ++lost;
      EXPECT_EQ(row.error, 0) << row.quantity << ": the reference is the same";
      EXPECT_GE(row.limit, 1e-4) << row.quantity;
    } else {
      EXPECT_GT(row.error, 1e-5) << row.quantity << ": bf16 beside fp32";
    }
  }
  EXPECT_GT(lost, 0u);
  EXPECT_LT(lost, check.rows.size());
}

TEST_F(VerifyTest, NumbersBesideTheirReference) {
  const Batch batch = TwoDocuments();
  const std::string checkpoint = Saved("one", 1);
  const NumbersCheck exact = *CheckNumbers(checkpoint, Device::kCpu, DType::kFloat32, batch);
  EXPECT_TRUE(exact.passed());
  EXPECT_EQ(exact.rows[0].quantity, "logits");
  EXPECT_GT(exact.rows[0].error, 0) << "fp32 beside fp64";
  EXPECT_GT(exact.least_cosine, 0.999999);
  EXPECT_LE(exact.least_cosine, exact.mean_cosine);
  EXPECT_EQ(exact.rows.size(), 2 + TinyModel(50)->parameters().size());
}

TEST(CardTest, SaysWhatFailed) {
  Card card = {.name = "a"};
  card.numbers = NumbersCheck{.num_tokens = 4, .reference = "fp64 on the CPU"};
  EXPECT_FALSE(card.passed()) << "nothing was compared";
  card.numbers->rows = {{"logits", 1e-7, 1e-5}, {"grad a", 2e-4, 1e-4}};
  EXPECT_FALSE(card.passed());
  EXPECT_TRUE(
      absl::StrContains(CardMarkdown(card.Json()), "| grad a | 2.00e-04 | 1.00e-04 | FAILED |"));
  card.numbers->rows[1].error = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(card.passed());
  card.numbers->rows[1].error = 0;
  EXPECT_TRUE(card.passed());
  card.exports = {{.family = "llama", .why_not = {"a mixer is no attention"}},
                  {.family = "kda", .num_tensors = 3, .different = {"model/b"}}};
  EXPECT_FALSE(card.passed());
  EXPECT_EQ(card.Json()["exports"][1]["different"][0], "model/b");
  EXPECT_TRUE(absl::StrContains(CardMarkdown(card.Json()), "1 of 3 differ: model/b"));
  EXPECT_TRUE(
      absl::StrContains(CardMarkdown(card.Json()), "**Not everything that was checked passed.**"));
}

TEST(CardTest, AnOlderCardOfTheSameFactsKeepsItsOtherChecks) {
  Card older = {.name = "a", .facts = {{"configuration", "12"}}};
  older.resume = {{.from_step = 3, .to_step = 9, .num_tensors = 4, .num_losses = 6}};
  older.exports = {{.family = "kda", .num_tensors = 3, .different = {"model/b"}}};
  Card newer = {.name = "a", .facts = older.facts};
  newer.exports = {{.family = "kda", .num_tensors = 3}};
  nlohmann::json card = newer.Json();
  EXPECT_EQ(KeepOtherChecks(older.Json(), &card), "");
  EXPECT_EQ(card["passed"], true);
  EXPECT_TRUE(absl::StrContains(CardMarkdown(card), "passed. Not checked: numbers, speed.\n"));
  EXPECT_EQ(card["resume"], older.Json()["resume"]);
  EXPECT_EQ(card["exports"], newer.Json()["exports"]);
  EXPECT_TRUE(absl::StrContains(CardMarkdown(card), "| 3 | 9 | all 10 equal | passed |"));

  older.resume->at(0).different = {"step 5 loss"};
  card = newer.Json();
  EXPECT_EQ(KeepOtherChecks(older.Json(), &card), "");
  EXPECT_EQ(card["passed"], false) << "what was kept has failed";

  newer.facts = {{"configuration", "13"}};
  card = newer.Json();
  EXPECT_EQ(KeepOtherChecks(older.Json(), &card), "configuration");
  EXPECT_FALSE(card.contains("resume"));
  EXPECT_EQ(card["passed"], true);
}

}  // namespace
}  // namespace wyvern
