// wyvern fit, from the points to its table, JSON and page.
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/json.h"
#include "tests/trainer/sweep/sweep_fixture.h"
#include "trainer/scaling/analysis.h"
#include "trainer/scaling/fit_output.h"
#include "trainer/scaling/points.h"
#include "trainer/sweep/sweep_folder.h"

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

// A byte order mark, CRLF, quotes, and empty cells below the last row.
TEST_F(FitTest, ReadsWhatSpreadsheetsWrite) {
  const auto points = PointsOfCsv(WriteText(
      "p.csv",
      "\xEF\xBB\xBF\"compute\",loss,name,exclude\r\n1,\"3.5\",\"a, "
      "\"\"b\"\"\nc\",\r\n2,3.25,d,0\r\n"
      "# 9,9,9\r\n4,3, e ,FALSE\r\n8,2.9,f,No\r\n16,2.8,g,\"diverged, twice\"\r\n,,,\r\n"));
  ASSERT_TRUE(points.ok()) << points.status();
  ASSERT_EQ(points->points.size(), 4u);
  EXPECT_EQ(points->points[0].name, "a, \"b\"\nc");
  EXPECT_EQ(points->points[0].loss, 3.5);
  EXPECT_EQ(points->points[2].name, "e");
  ASSERT_EQ(points->excluded.size(), 1u);
  EXPECT_EQ(points->excluded[0].second, "diverged, twice");
}

TEST_F(FitTest, FaultsOfACsvNameTheirLine) {
  const std::pair<const char*, std::string> faults[] = {
      {"compute,loss,loss\n1,3,4\n", "p.csv:1: column 'loss' is given twice"},
      {"compute,loss,exclude\n1,3,yes\n2,3,x\n",
       "p.csv: the column exclude leaves out all 2 points"},
      {"compute,loss\n", "p.csv:1: holds no point"},
      {"", "p.csv:1: expected a header"},
      {"compute,loss\n1,\"3\n2,4\n", "p.csv:2: a quoted value has no end"},
      {"name,compute,loss\n\"a\nb\",1,nan\n",
       "p.csv:2: loss: expected a number above 0, got 'nan'"},
      {"compute,loss\n\n1,inf\n", "p.csv:3: loss: expected a number above 0, got 'inf'"},
      {"compute,loss\n1e999,3\n", "p.csv:2: compute: expected a number above 0, got '1e999'"},
      {"flops,loss\n1e-300,3\n", "p.csv:2: flops: expected a number above 0, got '1e-300'"},
      {"compute;loss\n1;3\n", "p.csv:1: unknown column 'compute;loss'"}};
  for (const auto& [text, fault] : faults) {
    const absl::Status status = PointsOfCsv(WriteText("p.csv", text)).status();
    EXPECT_NE(status.message().find(fault), std::string::npos) << status;
  }
  const std::string utf16(
      "\xff\xfe"
      "c\0",
      4);
  const absl::Status status = PointsOfCsv(WriteText("p.csv", utf16)).status();
  EXPECT_NE(status.message().find("no CSV in UTF-8"), std::string::npos) << status;
}

// Names in Latin-1, and numbers at the end of a double's range.
TEST_F(FitTest, WritesItsFilesWhateverThePointsAre) {
  for (const std::string points :
       {"name,family,compute,loss\ncaf\xe9,\xff,0.001,4\nb,\xff,0.01,3.5\nc,\xff,0.1,3.1\nd,\xff,1,"
        "2.8\n",
        "compute,parameters,tokens,loss\n0.001,1e6,2e7,4.4\n0.004,1e308,5e7,4.0\n0.016,4e6,8e7,3."
        "7\n"
        "0.064,1e-300,1.7e8,3.45\n",
        "compute,loss\n1e-300,1e308\n1,1\n1e10,1e-10\n1e300,1e-300\n1e307,1e-307\n"}) {
    const ProcessResult result = Wyvern(
        {"fit", "--points", WriteText("p.csv", points), "--draws", "100", "--output", Path("fit")});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(nlohmann::json::accept(Read(Path("fit/fit.json"))));
    const std::string page = Read(Path("fit/report.html"));
    EXPECT_LT(page.size(), 300000u);
    EXPECT_EQ(page, Utf8(page));
    EXPECT_EQ(page.find("nan"), std::string::npos);
  }
}

TEST_F(FitTest, ADamagedRecordOfASweepIsNamed) {
  ASSERT_TRUE(WriteSweepFolder(Plan("axes:\n  - zip: {model.num_layers: [3, 4]}\n")).ok());
  const std::string good = Read(Path("sweep/sweep.json"));
  for (const auto& [text, fault] : std::vector<std::pair<std::string, std::string>>{
           {"{\"runs\": [{\"name\": 5, \"values\": [], \"tokens\": \"x\"}]}",
            "sweep.json: runs.0.name: expected a string"},
           {"{\"runs\": [7]}", "runs.0.tokens: expected a number"},
           {std::string(100000, '['), "sweep.json: byte 65: the JSON is nested too deeply"},
           {good.substr(0, good.size() / 2), "sweep.json: byte "}}) {
    WriteText("sweep/sweep.json", text);
    const ProcessResult result = Wyvern({"fit", Path("sweep")});
    EXPECT_EQ(result.exit_code, 1);
    ExpectParts(result.err, {fault});
  }
}

// With noise and without, with a floor and without: a power law's floor is 0, of the fit and of its
// refits alike.
TEST_F(FitTest, IntervalsHoldTheirEstimates) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  for (const double floor : {0.0, 1.7}) {
    for (const double noise : {0.0, 0.001, 0.03}) {
      ScalingPoints points;
      for (const double c : {1e-3, 1e-2, 0.05, 1.0, 3.0}) {
        const double loss = (floor + 2 * std::pow(c, -0.05)) * std::exp(noise * normal(random));
        points.points.push_back({.name = "p", .x = {c, 1e8 * c, 0}, .loss = loss});
      }
      for (const LawResult& law : Analyze(points, {.num_draws = 100}).families[0].laws) {
        for (const Estimate& estimate : law.estimates) {
          EXPECT_LE(estimate.interval.low, estimate.value) << law.form.Name() << estimate.name;
          EXPECT_GE(estimate.interval.high, estimate.value) << law.form.Name() << estimate.name;
          EXPECT_FALSE(estimate.extended) << law.form.Name() << estimate.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace wyvern
