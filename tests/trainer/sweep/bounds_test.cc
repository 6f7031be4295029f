// Sweeps that would have more runs, or deeper expressions, than anything can hold.
#include "absl/strings/str_cat.h"
#include "tests/trainer/sweep/sweep_fixture.h"
#include "trainer/sweep/expression.h"

namespace wyvern {
namespace {

using SweepBoundsTest = SweepTest;

std::string Values(int count) {
  std::string text = "[0";
  for (int i = 1; i < count; ++i) absl::StrAppend(&text, ", ", i);
  return text + "]";
}

TEST_F(SweepBoundsTest, RunsAreCountedBeforeTheyAreMade) {
  std::string grid = "axes:\n  - grid:\n";
  for (int i = 0; i < 12; ++i) {
    absl::StrAppend(&grid, "      train.k", i, ": ", Values(10), "\n");
  }
  ExpectParts(Faults(grid), {"axes[0].grid: more than 10000 runs"});
  std::string axes = "axes:\n";
  for (int i = 0; i < 12; ++i) {
    absl::StrAppend(&axes, "  - list: {train.k", i, ": ", Values(10), "}\n");
  }
  ExpectParts(Faults(axes), {"axes: more than 10000 runs"});
  ExpectParts(Faults("axes: [{list: {run.seed: " + Values(10001) + "}}]"),
              {"axes[0].list: more than 10000 runs"});
  ExpectParts(Faults("axes: [{zip: {run.seed: " + Values(10001) + "}}]"),
              {"axes[0].zip: more than 10000 runs"});
}

TEST_F(SweepBoundsTest, ExpressionsAreBounded) {
  for (const int terms : {3000, 20'000, 1'000'000}) {
    std::string sum = "1";
    for (int i = 1; i < terms; ++i) sum += "+1";
    const auto parsed = Expression::Parse(sum);
    EXPECT_NE(parsed.status().message().find("at most 4096 are read"), std::string::npos) << terms;
  }
  std::string sum = "1";
  for (int i = 1; i < 2000; ++i) sum += "+1";
  EXPECT_EQ(std::get<double>(*Expression::Parse(sum)->Evaluate({})), 2000);
}

TEST_F(SweepBoundsTest, ChainsOfVariablesAreBounded) {
  std::string chain = "axes: [{list: {run.seed: [1]}}]\nset:\n  train.grad_clip: = v0\n";
  for (int i = 0; i < 900; ++i) absl::StrAppend(&chain, "  v", i, ": = v", i + 1, " / 1\n");
  EXPECT_EQ(Plan(chain + "  v900: 2\n").runs.at(0).config.train.grad_clip, 2);
  std::string many = "axes: [{list: {run.seed: [1]}}]\nset:\n";
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&many, "  v", i, ": 1\n");
  ExpectParts(Faults(many), {"more than 1000 keys"});
}

TEST_F(SweepBoundsTest, BracesInNamesAreNoTemplatesOfTheirOwn) {
  const SweepPlan plan =
      Plan("run_name: \"x{a{b}\"\nset: {\"a{b\": 1, b: 2}\naxes: [{list: {run.seed: [1]}}]");
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].name, "x1");
}

TEST_F(SweepBoundsTest, RepeatedKeysOfABaseAreFaults) {
  WriteText("over.yaml", "train: {grad_clip: 1, grad_clip: 2}\n");
  const std::string path = WriteText(
      "sweep.yaml", absl::StrCat("name: tiny\nbase: [", Path("config.yaml"), ", ",
                                 Path("over.yaml"), "]\naxes: [{list: {run.seed: [1]}}]\n"));
  const auto plan = LoadSweep(path);
  ASSERT_FALSE(plan.ok());
  ExpectParts(std::string(plan.status().message()),
              {"over.yaml:1: train.grad_clip: given twice; keep one"});
  WriteText("over.yaml", "train: {grad_clip: 1}\n---\ntrain: {grad_clip: 2}\n");
  ExpectParts(std::string(LoadSweep(path).status().message()),
              {"over.yaml:2: a second document begins here"});
}

TEST_F(SweepBoundsTest, KeysOfTheBaseThatAPointMakesIdleAreNoFault) {
  const SweepPlan plan = Plan("axes: [{list: {validation.every: [10, 0]}}]");
  ASSERT_EQ(plan.runs.size(), 2u);
  EXPECT_EQ(plan.runs[0].config.validation.batches, 2);
  ExpectParts(Faults("set: {validation.batches: 5}\naxes: [{list: {validation.every: [10, 0]}}]"),
              {"validation.batches: has no effect with every: 0"});
}

}  // namespace
}  // namespace wyvern
