#include "trainer/optimizer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace wyvern {
namespace {

TEST(Schedule, ConstantHoldsThePeakAfterTheWarmUp) {
  const Schedule s({.type = ScheduleType::kConstant, .peak = 2, .initial = 1}, 4, 0, 10);
  EXPECT_EQ(s.RateAt(0), 1);
  EXPECT_EQ(s.RateAt(2), 1.5);
  EXPECT_EQ(s.RateAt(4), 2);
  EXPECT_EQ(s.RateAt(9), 2);
  EXPECT_EQ(s.RateAt(1000), 2);
}

TEST(Schedule, CosineStartsAfterTheWarmUpAndMeetsItsFloorAtTheLastStep) {
  const ScheduleSection section{
      .type = ScheduleType::kCosine, .peak = 3e-4, .initial = 3e-5, .final = 3e-5};
  const Schedule s(section, 1000, 0, 28611);
  EXPECT_EQ(s.RateAt(0), 3e-5);
  EXPECT_LT(s.RateAt(999), 3e-4);
  EXPECT_EQ(s.RateAt(1000), 3e-4);
  EXPECT_NEAR(s.RateAt(1000 + (28610 - 1000) / 2), (3e-4 + 3e-5) / 2, 1e-12);
  EXPECT_GT(s.RateAt(28609), 3e-5);
  EXPECT_EQ(s.RateAt(28610), 3e-5);
  EXPECT_EQ(s.RateAt(40000), 3e-5);
}

TEST(Schedule, CosineWithoutWarmUpBeginsAtThePeak) {
  const Schedule s({.type = ScheduleType::kCosine, .peak = 1, .final = 0}, 0, 0, 5);
  EXPECT_EQ(s.RateAt(0), 1);
  EXPECT_NEAR(s.RateAt(2), 0.5, 1e-15);
  EXPECT_EQ(s.RateAt(4), 0);
}

TEST(Schedule, WsdDecaysOverItsLastStepsInEachShape) {
  ScheduleSection section{.type = ScheduleType::kWsd, .peak = 1, .final = 0.1};
  for (const DecayShape shape :
       {DecayShape::kLinear, DecayShape::kCosine, DecayShape::kOneMinusSqrt}) {
    section.decay_shape = shape;
    const Schedule s(section, 10, 20, 100);
    EXPECT_EQ(s.RateAt(0), 0);
    EXPECT_EQ(s.RateAt(10), 1);
    EXPECT_EQ(s.RateAt(79), 1);
    EXPECT_LT(s.RateAt(80), 1);
    EXPECT_GT(s.RateAt(98), 0.1);
    EXPECT_EQ(s.RateAt(99), 0.1);
    const double half = shape == DecayShape::kOneMinusSqrt ? 1 - 0.9 * std::sqrt(0.5) : 0.55;
    EXPECT_NEAR(s.RateAt(89), half, 1e-12);
  }
}

TEST(Schedule, ARunOfOneStepHasARate) {
  const Schedule s({.type = ScheduleType::kCosine, .peak = 1, .final = 0}, 0, 0, 1);
  EXPECT_EQ(s.RateAt(0), 1);
}

}  // namespace
}  // namespace wyvern
