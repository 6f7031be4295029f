#include "trainer/report/family.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "trainer/report/comparison.h"

namespace wyvern {
namespace {

// Metrics of the steps [first, last], with the parent on the first line.
std::string Metrics(int first, int last, const std::string& parent) {
  std::string text;
  for (int step = first; step <= last; ++step) {
    absl::StrAppend(&text, "{\"step\":", step, ",\"tokens\":", step * 64,
                    ",\"loss\":", 5.0 - step / 100.0, step == first ? parent : "", "}\n");
  }
  return text;
}

std::string Parent(const std::string& kind, const std::string& run, int step) {
  return absl::StrCat(",\"parent\":{\"kind\":\"", kind, "\",\"path\":\"",
                      std::filesystem::absolute(run).string(), "/checkpoints/step_000000", step,
                      "\",\"step\":", step, "}");
}

TEST(Family, TheLastParentOfTheMetricsCounts) {
  EXPECT_FALSE(ParentOf(Metrics(0, 3, "")).has_value());
  const auto parent = ParentOf(Metrics(11, 12, Parent("branch", "runs/a", 10)) +
                               Metrics(13, 14, Parent("branch", "/b", 12)));
  ASSERT_TRUE(parent.has_value());
  EXPECT_EQ(parent->run, "/b");
  EXPECT_EQ(parent->step, 12);
  EXPECT_TRUE(parent->continues);
  EXPECT_FALSE(ParentOf(Metrics(0, 3, Parent("weights", "/b", 12)))->continues);
  EXPECT_EQ(ParentOf("{\"step\":1,\"parent\":{\"path\":\"/hub/model\"}}\n")->run, "/hub/model");
  EXPECT_FALSE(
      ParentOf("{\"step\":1,\"parent\":7}\n{\"step\":2,\"parent\":{\"path\":3}}\n").has_value());
}

TEST(Family, ParentsAreFoundByTheirFoldersAndNoRunIsItsOwnAncestor) {
  const RunParent of_a{.run = std::filesystem::absolute("runs/a").string(), .step = 10};
  const std::vector<FamilyMember> members = {{"child", "runs/child", of_a, 20},
                                             {"a", "runs/../runs/a/", std::nullopt, 30},
                                             {"orphan", "runs/o", RunParent{.run = "runs/x"}, 5}};
  const auto parents = ParentsIn(members);
  EXPECT_EQ(parents[0], 1u);
  EXPECT_FALSE(parents[1].has_value());
  EXPECT_FALSE(parents[2].has_value());
  const std::vector<FamilyMember> circle = {{"a", "a", RunParent{.run = "b"}, 1},
                                            {"b", "b", RunParent{.run = "a"}, 1}};
  const auto broken = ParentsIn(circle);
  EXPECT_NE(broken[0].has_value(), broken[1].has_value());
  EXPECT_NE(RenderFamily(circle), "");
}

TEST(Family, IsDrawnWithItsDepartures) {
  const auto page =
      RenderComparison({{"runs/base", Metrics(0, 40, "")},
                        {"runs/decay", Metrics(31, 50, Parent("branch", "runs/base", 30))},
                        {"runs/sft", Metrics(0, 50, Parent("weights", "runs/decay", 50))}});
  ASSERT_TRUE(page.ok()) << page.status();
  for (const char* part :
       {"<h2>Family</h2>", ">runs/base, to step 40<",
        ">runs/decay, branch of runs/base at step 30, to step 50<",
        ">runs/sft, weights of runs/decay at step 50, to step 50<", "/runs/base at step 30</td>",
        // The branch leaves at 30 of the family's 100 steps, the last run begins at 50.
        "<circle class=\"c2\" r=\"3.5\" cx=\"291.2\" cy=\"24.0\"/>",
        "<polyline class=\"c3\" points=\"480.0,92.0 952.0,92.0\"/>", "stroke-dasharray"}) {
    EXPECT_TRUE(absl::StrContains(*page, part)) << part;
  }
}

TEST(Family, RunsThatAreNotRelatedHaveNone) {
  const auto page = RenderComparison({{"a", Metrics(0, 40, "")}, {"b", Metrics(0, 40, "")}});
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_FALSE(absl::StrContains(*page, "Family"));
  EXPECT_FALSE(absl::StrContains(*page, "<td>parent</td>"));
}

}  // namespace
}  // namespace wyvern
