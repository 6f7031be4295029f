// wyvern fit, from the points to its table, JSON and page.
#include <cmath>
#include <random>

#include "absl/strings/str_format.h"
#include "tests/trainer/sweep/sweep_fixture.h"
#include "trainer/scaling/analysis.h"
#include "trainer/scaling/points.h"
#include "trainer/sweep/local_runner.h"

namespace wyvern {
namespace {

class FitTest : public SweepTest {
 protected:
  // Points of the published laws of Kimi Linear (arXiv 2510.26692, figure 5; C in PFLOP/s-days)
  // at the ladder of its table 2, with noise in log L; five of MLA, then five of Kimi Linear.
  static std::vector<ScalingPoint> KimiPoints(double noise, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    std::vector<ScalingPoint> points;
    for (const char* family : {"mla", "kimi_linear"}) {
      const bool mla = points.empty();
      for (const double c : {1.76, 3.65, 6.51, 9.97, 15.1}) {
        const double loss = (mla ? 2.3092 : 2.2879) * std::pow(c, mla ? -0.0536 : -0.0527);
        points.push_back({.name = "point",
                          .family = family,
                          .x = {c, 0, 0},
                          .loss = loss * std::exp(noise * normal(random))});
      }
    }
    return points;
  }
};

TEST_F(FitTest, RecoversTheLawsOfKimiLinear) {
  std::string csv = "family,compute,loss\n";
  for (const ScalingPoint& point : KimiPoints(1e-3, 1)) {
    absl::StrAppendFormat(&csv, "%s,%g,%.9g\n", point.family, point.x[0], point.loss);
  }
  const ProcessResult result = Wyvern(
      {"fit", "--points", WriteText("kimi.csv", csv), "--draws", "400", "--output", Path("fit")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(Read(Path("fit/fit.json")));
  const std::pair<double, double> truths[] = {{2.3092, 0.0536}, {2.2879, 0.0527}};
  for (size_t i = 0; i < 2; ++i) {
    const auto& law = json["families"][i]["laws"]["compute"]["parameters"];
    EXPECT_NEAR(law["a"]["value"].get<double>(), truths[i].first, 0.02);
    EXPECT_NEAR(law["b"]["value"].get<double>(), truths[i].second, 0.003);
    EXPECT_LE(law["a"]["low"], truths[i].first);
    EXPECT_GE(law["a"]["high"], truths[i].first);
    EXPECT_LE(law["b"]["low"], truths[i].second);
    EXPECT_GE(law["b"]["high"], truths[i].second);
    EXPECT_LT(law["b"]["high"].get<double>() - law["b"]["low"].get<double>(), 0.02);
  }
  const auto& ratio = json["compute_ratios"][1];  // in the middle of the ladder
  EXPECT_EQ(ratio["family"], "mla");
  EXPECT_NEAR(ratio["compute_pflops_days"].get<double>(), 5.155, 1e-3);
  EXPECT_NEAR(ratio["ratio"]["value"].get<double>(), 1.16, 0.06);
  EXPECT_LT(ratio["ratio"]["low"], 1.157);
  EXPECT_GT(ratio["ratio"]["high"], 1.157);
  ExpectParts(result.out, {"mla, 5 points", "L = a C^-b", "times the compute of kimi_linear",
                           "L = E + A N^-alpha + B D^-beta", Path("fit/report.html")});
  const std::string page = Read(Path("fit/report.html"));
  ExpectParts(page, {"Loss and compute", "polyline class=\"band c1\"", "polyline class=\"line c2\"",
                     "<circle class=\"c2\"", "kimi_linear: L = a C^-b"});
  EXPECT_EQ(page.find("Loss and tokens"), std::string::npos);  // not known
}

// At 0.1% noise, the interval of the ratio holds the truth in 95 of 100 ladders.
TEST_F(FitTest, TheComputeRatioLiesInItsInterval) {
  const double truth =
      std::exp(std::log(2.3092 / (2.2879 * std::pow(5.15511, -0.0527))) / 0.0536) / 5.15511;
  EXPECT_NEAR(truth, 1.157, 1e-3);
  int held = 0;
  const int kTrials = 100;
  for (int trial = 0; trial < kTrials; ++trial) {
    const std::vector<ScalingPoint> points = KimiPoints(1e-3, 100 + trial);
    LawFit fits[2];
    for (int family = 0; family < 2; ++family) {
      const auto fit =
          FitLaw(absl::MakeConstSpan(points).subspan(5 * family, 5),
                 {.variables = {ScalingVariable::kCompute}},
                 {.num_draws = 100, .seed = static_cast<uint64_t>(2 * trial + family)});
      ASSERT_TRUE(fit.ok());
      fits[family] = *fit;
    }
    std::vector<double> ratios;
    for (size_t i = 0; i < fits[0].draws.size(); ++i) {
      ratios.push_back(fits[0].draws[i].Inverse(fits[1].draws[i].Loss(5.15511)) / 5.15511);
    }
    const Interval interval = CentralInterval(ratios);
    held += interval.low <= truth && truth <= interval.high ? 1 : 0;
  }
  EXPECT_GE(held, 87);  // 95 less four standard deviations
  EXPECT_LT(held, kTrials);
}

TEST_F(FitTest, ReadsTheRunsOfASweep) {
  const std::string rest =
      "axes:\n  - name: layout\n    points:\n      one: {}\n      two: {schedule.peak: 4e-3}\n"
      "  - zip: {model.num_layers: [3, 4, 5, 6]}\n"
      "fit:\n  family: layout\n  exclude:\n    - {run: two-num_layers_6, reason: cosmic rays}\n";
  const SweepPlan plan = Plan(rest);
  const std::string sweep = Path("sweep.yaml");
  ASSERT_TRUE(WriteSweepFolder(plan).ok());
  for (const SweepRun& run : plan.runs) {
    const double loss = (run.name[0] == 'o' ? 3.0 : 2.9) * std::pow(run.Flops() / 1e9, -0.1);
    WriteText(absl::StrCat("sweep/", run.name, "/metrics.jsonl"),
              absl::StrFormat("{\"step\": 10, \"val_loss\": 9}\n"
                              "{\"step\": 40, \"loss\": 3, \"val_loss\": %.17g}\n",
                              loss));
  }
  const ProcessResult result = Wyvern({"fit", Path("sweep"), "--draws", "100"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ExpectParts(result.out,
              {"7 points; validation loss after the last step", "one, 4 points", "two, 3 points",
               "two-num_layers_6: cosmic rays", "tokens: hardly varies", "at equal loss"});
  const auto json = nlohmann::json::parse(Read(Path("sweep/fit.json")));
  const auto& point = json["families"][0]["points"][1];
  EXPECT_EQ(point["name"], "one-num_layers_4");
  EXPECT_EQ(point["parameters"], plan.runs[1].parameters);
  EXPECT_NEAR(point["compute_pflops_days"].get<double>(),
              plan.runs[1].flops_per_token * 40 * 256 / 8.64e19, 1e-20);
  EXPECT_NEAR(point["loss"].get<double>(), 3 * std::pow(plan.runs[1].Flops() / 1e9, -0.1), 1e-12);
  EXPECT_NEAR(json["families"][1]["laws"]["compute"]["parameters"]["b"]["value"].get<double>(), 0.1,
              1e-6);
  EXPECT_NEAR(json["compute_ratios"][0]["ratio"]["value"].get<double>(), std::pow(3 / 2.9, 10),
              1e-4);
  EXPECT_TRUE(std::filesystem::exists(Path("sweep/report.html")));

  // A run that is not finished is left out, and so says the table.
  std::filesystem::remove(Path("sweep/one-num_layers_3/metrics.jsonl"));
  const ProcessResult fewer = Wyvern({"fit", sweep, "--draws", "100"});
  ExpectParts(fewer.out, {"one-num_layers_3: not begun", "6 points"});
  // The file's own section `fit` counts where the file is given.
  WriteSweep(absl::StrCat(rest, "    - {run: one-num_layer_5}\n"));
  ExpectParts(Wyvern({"fit", sweep}).err, {"fit.exclude[1].reason"});
  WriteSweep(absl::StrCat(rest, "    - {run: one-num_layer_5, reason: x}\n"));
  ExpectParts(Wyvern({"fit", sweep}).err,
              {"no run is named 'one-num_layer_5'; did you mean 'one-num_layers_5'?"});
}

TEST_F(FitTest, FaultsOfACsvAreReportedTogether) {
  const ProcessResult result =
      Wyvern({"fit", "--points", WriteText("p.csv", "family,compute,los\na,1\na,x,3\na,1,-2\n")});
  EXPECT_EQ(result.exit_code, 1);
  ExpectParts(result.err,
              {"p.csv:1: unknown column 'los'; did you mean 'loss'?", "p.csv:1: no column 'loss'",
               "p.csv:2: expected 3 values, got 2", "p.csv:3: compute: expected a number above 0"});
  EXPECT_EQ(Wyvern({"fit"}).exit_code, 2);
  EXPECT_EQ(Wyvern({"fit", Path("nothing")}).exit_code, 1);
  const auto excluded =
      PointsOfCsv(WriteText("q.csv", "flops,loss,exclude\n8.64e19,3,\n1e20,3,spike\n"));
  ASSERT_TRUE(excluded.ok());
  EXPECT_EQ(excluded->points.size(), 1u);
  EXPECT_EQ(excluded->points[0].x[0], 1);
  EXPECT_EQ(excluded->excluded[0].second, "spike");
}

}  // namespace
}  // namespace wyvern
