#include "trainer/loop/resume_notes.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace wyvern {
namespace {

RunConfig Linear(int64_t steps) {
  RunConfig config;
  config.train.steps = steps;
  config.train.batch_tokens = 64;
  config.data.seq_len = 16;
  config.schedule.type = ScheduleType::kLinear;
  config.schedule.peak = 0.5;
  config.schedule.final = 0.125;
  return config;
}

TEST(ResumeNotes, AnExtensionSaysWhatTheRateDoes) {
  const std::string note = ExtensionNote(Linear(10), Linear(19), 10, 10);
  EXPECT_TRUE(absl::StrContains(note, "step 10, with a learning rate of 0.125")) << note;
  // Update 10 of 19: 0.5 - 0.375 * 10 / 18.
  EXPECT_TRUE(absl::StrContains(note, "to step 19 with 0.291667")) << note;
  EXPECT_TRUE(absl::StrContains(note, "wyvern branch RUN@STEP NEW")) << note;
}

TEST(ResumeNotes, ARunThatIsNotAtItsEndHasNone) {
  EXPECT_EQ(ExtensionNote(Linear(10), Linear(19), 9, 9), "");
  EXPECT_EQ(ExtensionNote(Linear(10), Linear(10), 10, 10), "");
}

}  // namespace
}  // namespace wyvern
