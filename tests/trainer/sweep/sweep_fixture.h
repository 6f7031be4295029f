// A sweep of the tiny configuration.
#ifndef WYVERN_TESTS_TRAINER_SWEEP_SWEEP_FIXTURE_H_
#define WYVERN_TESTS_TRAINER_SWEEP_SWEEP_FIXTURE_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/sweep/plan.h"

namespace wyvern {

class SweepTest : public RunTest {
 protected:
  // name, dir and base, and then the rest.
  std::string WriteSweep(const std::string& rest) {
    return WriteText("sweep.yaml", absl::StrCat("name: tiny\ndir: ", Path("sweep"),
                                                "\nbase: ", Path("config.yaml"), "\n", rest));
  }
  // The runs of a sweep that must be sound.
  SweepPlan Plan(const std::string& rest) {
    const absl::StatusOr<SweepPlan> plan = LoadSweep(WriteSweep(rest));
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.value_or(SweepPlan());
  }
  std::string Faults(const std::string& rest) {
    const absl::StatusOr<SweepPlan> plan = LoadSweep(WriteSweep(rest));
    EXPECT_FALSE(plan.ok());
    return std::string(plan.status().message());
  }
  static void ExpectParts(const std::string& text, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) {
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
    }
  }
};

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_SWEEP_SWEEP_FIXTURE_H_
