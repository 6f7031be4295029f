#include "trainer/scaling/robust_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace wyvern {
namespace {

const LawForm kPower{.variables = {ScalingVariable::kCompute}};
const LawForm kFloor{.floor = true, .variables = {ScalingVariable::kCompute}};
const LawForm kJoint{.floor = true,
                     .variables = {ScalingVariable::kParameters, ScalingVariable::kTokens}};

Law PowerLaw(double a, double b, double e = 0) {
  return {e > 0 ? kFloor : kPower, e, {{std::log(a), b}}};
}

std::vector<ScalingPoint> PointsOf(const Law& law, const std::vector<double>& compute, double noise,
                                   uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<ScalingPoint> points;
  for (const double c : compute) {
    ScalingPoint point{.name = "point", .x = {c, 0, 0}};
    point.loss = law.Loss(c) * std::exp(noise * normal(random));
    points.push_back(point);
  }
  return points;
}

std::vector<double> Spread(double low, double high, int count) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) {
    values.push_back(low * std::pow(high / low, static_cast<double>(i) / (count - 1)));
  }
  return values;
}

Interval OfB(const LawFit& fit) {
  std::vector<double> values;
  for (const Law& law : fit.draws) values.push_back(law.terms[0].b);
  return CentralInterval(values);
}

TEST(RobustFit, FindsEachFormWithoutNoise) {
  const auto power = FitLaw(PointsOf(PowerLaw(2.3092, 0.0536), Spread(1, 20, 5), 0, 1), kPower);
  ASSERT_TRUE(power.ok());
  EXPECT_NEAR(std::exp(power->law.terms[0].log_a), 2.3092, 1e-9);
  EXPECT_NEAR(power->law.terms[0].b, 0.0536, 1e-9);

  const Law law = PowerLaw(1.5, 0.2, 1.7);
  const auto floor = FitLaw(PointsOf(law, Spread(1e-3, 1e3, 8), 0, 1), kFloor, {.num_draws = 10});
  ASSERT_TRUE(floor.ok());
  EXPECT_NEAR(floor->law.e, 1.7, 1e-5);
  EXPECT_NEAR(floor->law.terms[0].b, 0.2, 1e-5);
  EXPECT_NEAR(floor->law.Inverse(law.Loss(5.0)), 5.0, 1e-3);
  EXPECT_EQ(floor->law.Inverse(1.6), std::numeric_limits<double>::infinity());

  // Hoffmann et al.'s law over a grid of sizes and tokens.
  const Law joint{kJoint, 1.69, {{std::log(406.4), 0.34}, {std::log(410.7), 0.28}}};
  std::vector<ScalingPoint> points;
  for (const double n : Spread(1e8, 1e10, 4)) {
    for (const double per : {5.0, 20.0, 80.0}) {
      ScalingPoint point{.name = "point", .x = {0, n, per * n}};
      point.loss = joint.Loss(point);
      points.push_back(point);
    }
  }
  const auto both = FitLaw(points, kJoint, {.num_draws = 10});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_NEAR(both->law.e, 1.69, 1e-3);
  EXPECT_NEAR(both->law.terms[0].b, 0.34, 1e-3);
  EXPECT_NEAR(both->law.terms[1].b, 0.28, 1e-3);
}

// A fit to five points, as many as the published ladder has: resampling them would give
// intervals that hold the truth in three of four cases.
TEST(RobustFit, IntervalsOfAPowerLawHoldTheTruthAsOftenAsTheySay) {
  const Law law = PowerLaw(2.3092, 0.0536);
  const std::vector<double> compute = {1.76, 3.65, 6.51, 9.97, 15.1};
  const int kTrials = 300;
  int held_b = 0, held_loss = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto fit = FitLaw(PointsOf(law, compute, 1e-3, 1000 + trial), kPower,
                            {.num_draws = 100, .seed = static_cast<uint64_t>(trial)});
    ASSERT_TRUE(fit.ok());
    const Interval b = OfB(*fit);
    held_b += b.low <= 0.0536 && 0.0536 <= b.high ? 1 : 0;
    std::vector<double> losses;
    for (const Law& drawn : fit->draws) losses.push_back(drawn.Loss(30.0));
    const Interval loss = CentralInterval(losses);
    held_loss += loss.low <= law.Loss(30.0) && law.Loss(30.0) <= loss.high ? 1 : 0;
  }
  // 95% of 300 is 285, with a standard deviation of 3.8; 100 draws cost the quantiles one percent.
  EXPECT_GE(held_b, 267);
  EXPECT_LE(held_b, 297);
  EXPECT_GE(held_loss, 267);
  EXPECT_LE(held_loss, 297);
}

TEST(RobustFit, IntervalsWithAFloorHoldTheTruthAsOftenAsTheySay) {
  const Law law = PowerLaw(1.5, 0.15, 1.7);
  const std::vector<double> compute = Spread(1e-4, 1e3, 10);
  const int kTrials = 150;
  int held_b = 0, held_e = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto fit = FitLaw(PointsOf(law, compute, 2e-3, 5000 + trial), kFloor,
                            {.num_draws = 60, .seed = static_cast<uint64_t>(trial)});
    ASSERT_TRUE(fit.ok());
    const Interval b = OfB(*fit);
    held_b += b.low <= 0.15 && 0.15 <= b.high ? 1 : 0;
    std::vector<double> floors;
    for (const Law& drawn : fit->draws) floors.push_back(drawn.e);
    const Interval e = CentralInterval(floors);
    held_e += e.low <= 1.7 && 1.7 <= e.high ? 1 : 0;
  }
  // In 400 trials with 100 draws, 93.8% and 95.3% do.
  EXPECT_GE(held_b, 130);
  EXPECT_GE(held_e, 130);
  EXPECT_LT(held_b, kTrials);
  EXPECT_LT(held_e, kTrials);
}

// A pure power law has the floor 0: the fit may end there, and the interval says how high the floor
// might still be.
TEST(RobustFit, AFloorThatIsNotThereHasAnHonestInterval) {
  const auto points = PointsOf(PowerLaw(2.3092, 0.0536), Spread(1, 20, 6), 1e-3, 21);
  const auto fit = FitLaw(points, kFloor, {.num_draws = 200});
  ASSERT_TRUE(fit.ok());
  std::vector<double> floors;
  for (const Law& law : fit->draws) floors.push_back(law.e);
  const Interval e = CentralInterval(floors);
  EXPECT_LT(e.low, 0.1);
  EXPECT_GT(e.high, 0.2);
  EXPECT_LT(e.high, 2);
}

TEST(RobustFit, OneOutlierMovesLittle) {
  const Law law = PowerLaw(2.3092, 0.0536);
  std::vector<ScalingPoint> points = PointsOf(law, Spread(1, 30, 9), 1e-3, 7);
  const auto clean = FitLaw(points, kPower, {.num_draws = 200});
  points[6].loss *= 1.05;  // fifty times the noise
  const auto fit = FitLaw(points, kPower, {.num_draws = 200});
  ASSERT_TRUE(fit.ok());
  // Least squares would be off by 0.0038 in b.
  EXPECT_NEAR(fit->law.terms[0].b, clean->law.terms[0].b, 0.0008);
  EXPECT_NEAR(fit->residuals[6], 0.05, 0.005);
  const Interval b = OfB(*fit);
  EXPECT_LT(b.low, 0.0536);
  EXPECT_GT(b.high, 0.0536);
  EXPECT_LT(b.high - b.low, 0.006);
}

TEST(RobustFit, SaysWhatCannotBeFitted) {
  const auto message = [](const std::vector<ScalingPoint>& points, const LawForm& form) {
    return std::string(FitLaw(points, form).status().message());
  };
  const Law law = PowerLaw(2, 0.1);
  EXPECT_EQ(message(PointsOf(law, {1, 2, 4}, 0, 1), kFloor), "needs 4 points or more, there are 3");
  EXPECT_EQ(message(PointsOf(law, {1, 1.01, 1.02}, 0, 1), kPower),
            "compute: hardly varies over the points");
  EXPECT_EQ(message(PointsOf(law, {1, 2, 0}, 0, 1), kPower), "compute: not known of point");
  std::vector<ScalingPoint> points;
  for (const double n : Spread(1e6, 1e9, 6)) {
    points.push_back({.name = "point", .x = {1, n, 20 * n}, .loss = 3});
  }
  EXPECT_NE(message(points, kJoint).find("vary in proportion"), std::string::npos);
}

TEST(RobustFit, IntervalsOfValuesWithoutABound) {
  std::vector<double> values(100, 1.0);
  EXPECT_EQ(CentralInterval(values).high, 1);
  for (int i = 0; i < 10; ++i) values[i] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(CentralInterval(values).low, 1);
  EXPECT_EQ(CentralInterval(values).high, std::numeric_limits<double>::infinity());
  for (int i = 10; i < 20; ++i) values[i] = -std::numeric_limits<double>::infinity();
  EXPECT_EQ(CentralInterval(values).low, -std::numeric_limits<double>::infinity());
  const double nan = std::nan("");
  EXPECT_EQ(CentralInterval({nan, 2, nan, nan}).high, 2);
  EXPECT_EQ(CentralInterval({nan}).low, -std::numeric_limits<double>::infinity());
}

TEST(RobustFit, TheSameSeedGivesTheSameDraws) {
  const auto points = PointsOf(PowerLaw(2, 0.1), Spread(1, 10, 5), 1e-3, 3);
  const auto a = FitLaw(points, kPower, {.num_draws = 20}),
             b = FitLaw(points, kPower, {.num_draws = 20});
  EXPECT_EQ(OfB(*a).low, OfB(*b).low);
}

}  // namespace
}  // namespace wyvern
